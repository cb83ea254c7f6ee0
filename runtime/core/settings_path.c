/* SPDX-License-Identifier: MIT
 *
 * Paths by their text.
 */
#include "settings_path.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

char *fks_path_join(struct fks_store *store, const char *directory, const char *name)
{
    if (*name == '/')
        return fks_store_text(store, name, strlen(name));
    size_t length = strlen(directory);
    char *path = fks_store_take(store, length + strlen(name) + 2);
    if (!path)
        return NULL;
    memcpy(path, directory, length);
    if (!length || path[length - 1] != '/')
        path[length++] = '/';
    strcpy(path + length, name);
    return path;
}

char *fks_path_normalise(struct fks_store *store, const char *path)
{
    char *out = fks_store_take(store, strlen(path) + 2);
    if (!out)
        return NULL;
    /* Two slashes at the start are kept and three are not: POSIX, and so Python. */
    size_t root = path[0] == '/' && path[1] == '/' && path[2] != '/' ? 2 : 1;
    memset(out, '/', root);
    size_t length = root;
    for (const char *part = path; *part;) {
        size_t size = strcspn(part, "/");
        if (size == 2 && !memcmp(part, "..", 2)) {
            while (length > root && out[length - 1] != '/')
                length--;
            length -= length > root;
        } else if (size && !(size == 1 && *part == '.')) {
            if (length > root)
                out[length++] = '/';
            memcpy(out + length, part, size);
            length += size;
        }
        part += size + (part[size] == '/');
    }
    out[length] = '\0';
    return out;
}

char *fks_path_directory(struct fks_store *store, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t whole = slash ? (size_t)(slash - path) + 1 : 0;
    size_t length = whole;
    while (length && path[length - 1] == '/')
        length--;
    return fks_store_text(store, path,
                          length ? length : whole); /* of "/" and "//" nothing is taken */
}

bool fks_path_unquote(char *path)
{
    char *to = path;
    for (const char *from = path; *from; to++) {
        bool code =
            from[0] == '%' && isxdigit((unsigned char)from[1]) && isxdigit((unsigned char)from[2]);
        if (!code) {
            *to = *from++;
            continue;
        }
        char digits[3] = {from[1], from[2], '\0'};
        *to = (char)strtol(digits, NULL, 16);
        if (!*to)
            return false;
        from += 3;
    }
    *to = '\0';
    return true;
}
