/* SPDX-License-Identifier: MIT
 *
 * Runs a command and counts what the last process does that it forks, from the fork to its end, or
 * the command itself (`whole`, and where it forks none): system calls, minor faults, and the
 * private dirty memory that it has when it ends. Arguments: last|whole OUT COMMAND [ARGUMENT...].
 * One line of JSON into the file OUT; signals to end it go on to the command. Every call is a stop,
 * so that no time is measured here.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIDS 4194305 /* the kernel's largest pid_max, and one */

static struct {
    unsigned char known, inside; /* a system call */
    unsigned calls;
} processes[PIDS];

static long calls, faults, kilobytes; /* of the one that is asked for */
static pid_t first, newest;
static bool whole;

static FILE *open_proc(pid_t pid, const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    return fopen(path, "re");
}

static long private_dirty(pid_t pid)
{
    char line[256];
    long found = 0;
    FILE *file = open_proc(pid, "smaps_rollup");
    while (file && fgets(line, sizeof line, file))
        (void)sscanf(line, "Private_Dirty: %ld", &found);
    if (file)
        fclose(file);
    return found;
}

static long minor_faults(pid_t pid)
{
    long found = 0;
    char text[1024] = "";
    FILE *file = open_proc(pid, "stat");
    if (file && fgets(text, sizeof text, file)) {
        const char *end = strrchr(text, ')'); /* state, seven numbers more, minor faults */
        (void)!(end && sscanf(end + 1, " %*c %*d %*d %*d %*d %*d %*u %ld", &found));
    }
    if (file)
        fclose(file);
    return found;
}

/* Its memory is still there. */
static void note_end(pid_t pid)
{
    if (pid != (whole ? first : newest))
        return;
    calls = processes[pid].calls;
    faults = minor_faults(pid);
    kilobytes = private_dirty(pid);
}

static void pass_on(int sig)
{
    kill(first, sig);
}

/* What a stopped process goes on with: a signal, or 0. */
static int handle(pid_t pid, int status)
{
    int event = status >> 16, sig = WSTOPSIG(status);
    if (sig == (SIGTRAP | 0x80)) {
        processes[pid].inside = !processes[pid].inside;
        processes[pid].calls += processes[pid].inside;
        return 0;
    }
    if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK) {
        unsigned long child = 0;
        ptrace(PTRACE_GETEVENTMSG, pid, NULL, &child);
        newest = (pid_t)child;
        processes[child].inside = processes[child].calls = 0;
    }
    if (event == PTRACE_EVENT_EXIT)
        note_end(pid);
    bool is_new = !processes[pid].known;
    processes[pid].known = 1;
    return event || sig == SIGTRAP || (is_new && sig == SIGSTOP) ? 0 : sig;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    whole = !strcmp(argv[1], "whole");
    first = newest = fork();
    if (!first) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        execvp(argv[3], argv + 3);
        _exit(127);
    }
    int status, result = 1;
    if (waitpid(first, &status, 0) != first)
        return 1;
    processes[first].known = 1;
    signal(SIGTERM, pass_on);
    signal(SIGINT, pass_on);
    ptrace(PTRACE_SETOPTIONS, first, NULL,
           PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
               PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL);
    ptrace(PTRACE_SYSCALL, first, NULL, 0);
    for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR;) {
        if (pid > 0 && WIFSTOPPED(status))
            ptrace(PTRACE_SYSCALL, pid, NULL, handle(pid, status));
        else if (pid > 0) {
            processes[pid].known = 0;
            result = pid == first && WIFEXITED(status) ? WEXITSTATUS(status) : result;
        }
    }
    FILE *out = fopen(argv[2], "we");
    if (!out)
        return 1;
    fprintf(out, "{\"minor faults\": %ld, \"private dirty kB\": %ld, \"system calls\": %ld}\n",
            faults, kilobytes, calls);
    return fclose(out) ? 1 : result;
}
