# Writes the files FILES (of the directory ROOT) into the C file OUTPUT, with the function FUNCTION of HEADER that finds them.
set(text "/* Generated. */\n#include \"${HEADER}\"\n#include <string.h>\n\n")
set(table "static const struct {\n    const char *name, *text;\n    size_t length;\n} files[] = {\n")
set(index 0)
foreach(file IN LISTS FILES)
    file(READ ${ROOT}/${file} bytes HEX)
    string(LENGTH "${bytes}" digits)
    math(EXPR length "${digits} / 2")
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
    string(APPEND text "static const unsigned char file${index}[] = {${bytes}0};\n")
    string(APPEND table "    {\"${file}\", (const char *)file${index}, ${length}},\n")
    math(EXPR index "${index} + 1")
endforeach()
string(APPEND text "\n${table}};\n\nconst char *${FUNCTION}(const char *name, size_t *length)\n{\n"
    "    for (size_t i = 0; i < sizeof files / sizeof *files; i++)\n"
    "        if (!strcmp(files[i].name, name)) {\n            *length = files[i].length;\n"
    "            return files[i].text;\n        }\n    return NULL;\n}\n")
file(WRITE ${OUTPUT} "${text}")
