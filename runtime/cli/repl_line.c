/* SPDX-License-Identifier: MIT
 *
 * The REPL at a terminal: libedit's line editor with history and TAB, prompts, and Ctrl-C, which
 * cancels the line being typed or interrupts the one that runs. In the command's process.
 */
#include "repl.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include "command.h"

enum {
    PRESSES_TO_END = 3
}; /* a C function that never returns to Lua does not see the first ones */

struct editor {
    struct fks_repl *repl;
    EditLine *el;
    History *lines;
    struct fks_repl_history file;
    char prompt[300];
};

/* What the signal handler knows. */
static struct fks_repl *volatile running; /* the session, while it runs a line */
static volatile sig_atomic_t presses, resized;

static void on_interrupt(int signo)
{
    presses = presses + 1;
    if (!running)
        return;
    fks_repl_interrupt(running);
    if (presses < PRESSES_TO_END)
        return;
    signal(signo, SIG_DFL);
    raise(signo);
}

static void on_resize(int signo)
{
    (void)signo;
    resized = 1;
}

/* Without SA_RESTART: a read for the editor, or of the running line, ends at Ctrl-C. */
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &action, NULL);
    action.sa_handler = on_resize;
    action.sa_flags = SA_RESTART;
    sigaction(SIGWINCH, &action, NULL);
}

/* libedit's own reader begins again after a signal; this one gives up at Ctrl-C. Returns 1, 0 at
 * the end of input, or -1. */
static int read_character(EditLine *el, wchar_t *character)
{
    mbstate_t state = {0};
    for (;;) {
        char byte;
        if (resized) {
            resized = 0;
            el_resize(el);
        }
        ssize_t got = read(STDIN_FILENO, &byte, 1);
        if (got < 0 && errno == EINTR && !presses)
            continue;
        if (got <= 0)
            return (int)got;
        size_t length = mbrtowc(character, &byte, 1, &state);
        if (length != (size_t)-1 && length != (size_t)-2)
            return 1;
        if (length == (size_t)-1)
            memset(&state, 0, sizeof state); /* not UTF-8: dropped */
    }
}

static char *prompt_of(EditLine *el)
{
    struct editor *editor;
    el_get(el, EL_CLIENTDATA, &editor);
    return editor->prompt;
}

static unsigned char complete(EditLine *el, int key)
{
    (void)key;
    struct editor *editor;
    el_get(el, EL_CLIENTDATA, &editor);
    const LineInfo *line = el_line(el);
    const char *addition, *list;
    fks_repl_complete(editor->repl, line->buffer, (size_t)(line->cursor - line->buffer), &addition,
                      &list);
    if (list) {
        printf("\n%s\n", list);
        fflush(stdout);
        return CC_REDISPLAY;
    }
    if (!addition[0] || el_insertstr(el, addition))
        return CC_ERROR;
    return CC_REFRESH;
}

static void remember(const char *line, void *data)
{
    struct editor *editor = data;
    HistEvent event;
    history(editor->lines, &event, H_ENTER, line);
}

static int start_editor(struct editor *editor, struct fks_repl *repl)
{
    *editor = (struct editor){.repl = repl};
    setlocale(LC_CTYPE, "");
    if (MB_CUR_MAX == 1)
        setlocale(LC_CTYPE, "C.UTF-8");
    editor->lines = history_init();
    editor->el = el_init("forksafe", stdin, stdout, stderr);
    if (!editor->lines || !editor->el)
        return -1;
    HistEvent event;
    history(editor->lines, &event, H_SETSIZE, FKS_REPL_HISTORY_LINES);
    history(editor->lines, &event, H_SETUNIQUE, 1);
    el_set(editor->el, EL_CLIENTDATA, editor);
    el_set(editor->el, EL_PROMPT, prompt_of);
    el_set(editor->el, EL_EDITOR, "emacs");
    el_set(editor->el, EL_HIST, history, editor->lines);
    el_set(editor->el, EL_GETCFN, read_character);
    el_set(editor->el, EL_ADDFN, "forksafe-complete", "Complete a name", complete);
    el_set(editor->el, EL_BIND, "^I", "forksafe-complete", NULL);
    el_set(editor->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(editor->el, NULL);
    return 0;
}

static void stop_editor(struct editor *editor)
{
    if (editor->el)
        el_end(editor->el);
    if (editor->lines)
        history_end(editor->lines);
}

/* A line without its newline, the caller's; NULL at the end of input (`presses` is 0) or at Ctrl-C.
 */
static char *read_line(struct editor *editor, bool more)
{
    snprintf(editor->prompt, sizeof editor->prompt, "%s", fks_repl_prompt(editor->repl, more));
    presses = 0;
    int length;
    const char *line = el_gets(editor->el, &length);
    if (!line || length <= 0)
        return NULL;
    char *copy = strdup(line);
    if (copy)
        copy[strcspn(copy, "\n")] = '\0';
    return copy;
}

static enum fks_repl_answer run_line(struct editor *editor, const char *line)
{
    if (line[0]) {
        remember(line, editor);
        fks_repl_history_add(&editor->file, line);
    }
    presses = 0;
    running = editor->repl;
    enum fks_repl_answer answer = fks_repl_feed(editor->repl, line, "repl", 1);
    running = NULL;
    return answer;
}

static void converse(struct editor *editor)
{
    enum fks_repl_answer answer = FKS_REPL_OK;
    while (answer != FKS_REPL_QUIT) {
        char *line = read_line(editor, answer == FKS_REPL_INCOMPLETE);
        if (line) {
            answer = run_line(editor, line);
            free(line);
            continue;
        }
        puts(presses ? "^C" : "");
        if (!presses)
            return;
        fks_repl_cancel(editor->repl);
        answer = FKS_REPL_OK;
    }
}

int fks_repl_interact(struct fks_repl *repl)
{
    struct editor editor;
    if (start_editor(&editor, repl)) {
        stop_editor(&editor);
        fprintf(stderr, "forksafe repl: libedit cannot use this terminal; is TERM set?\n");
        return FKS_EXIT_FAILED;
    }
    catch_signals();
    struct fks_error error;
    if (fks_repl_history_open(&editor.file, remember, &editor, &error))
        fprintf(stderr, "forksafe repl: %s\n", error.text);
    puts(fks_repl_banner(repl));
    converse(&editor);
    stop_editor(&editor);
    return FKS_EXIT_OK;
}
