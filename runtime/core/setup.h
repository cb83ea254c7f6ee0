/* SPDX-License-Identifier: MIT
 *
 * Everything that one reading of the ini gives: settings, config, scripts and the VM made of them.
 * A reload makes a new one and swaps the pointer. Master.
 */
#ifndef FKS_SETUP_H
#define FKS_SETUP_H

#include "config.h"
#include "finding_marks.h"
#include "settings.h"
#include "vm.h"

struct fks_setup {
    struct fks_settings *settings;
    struct fks_config config;
    struct fks_scripts scripts;
    struct fks_marks marks; /* what the audit is told to be safe */
    struct fks_vm_spec spec;
    struct fks_vm *vm;
    char *container;    /* the host's name for itself, which it may forget */
    char **environment; /* as it was in the master */
    char *
        hooks[FORKSAFE_EVENT_COUNT]; /* "containers.uwsgi.post_fork_hook"; NULL: never fired here */
    char *complaints[16];            /* wrong keys of the ini, a line each; the first ones */
    size_t complaint_count;
    uint32_t cannot; /* FORKSAFE_CANNOT_* of the host */
    size_t failed;   /* wrong keys, and scripts that could not be used */
};

/* Reads settings and config of `ini` (INI[#APP]). A wrong key has its default, and a line among the
 * complaints. Returns 0; negative with *out NULL where the ini cannot be read. */
int fks_setup_create(struct fks_setup **out, const char *ini, struct fks_error *error);

/* Loads the scripts and makes the VM for `host`. Scripts that fail are complained of and counted; a
 * script directory that cannot be used is, too. Returns 0; FORKSAFE_ELUAJIT, FORKSAFE_ENOMEM or
 * FORKSAFE_ESCRIPT where there is no VM. */
int fks_setup_load(struct fks_setup *setup, const struct forksafe_host *host,
                   void (*complain)(const char *text, void *data), char *(*debug_json)(void),
                   struct fks_error *error);

/* NULL is harmless. */
void fks_setup_destroy(struct fks_setup *setup);

#endif
