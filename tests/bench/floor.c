/* SPDX-License-Identifier: MIT
 *
 * The floor of `forksafe doctor`, and of lsof: reads the link of every descriptor of some
 * processes, which is what one look at each costs from outside, and does nothing with it.
 * Arguments: PID...
 */
#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char path[64], link[4096];
    for (int i = 1; i < argc; i++) {
        snprintf(path, sizeof path, "/proc/%s/fd", argv[i]);
        DIR *directory = opendir(path);
        for (struct dirent *entry; directory && (entry = readdir(directory));)
            (void)!readlinkat(dirfd(directory), entry->d_name, link, sizeof link);
        if (directory)
            closedir(directory);
    }
    return 0;
}
