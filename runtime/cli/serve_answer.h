/* SPDX-License-Identifier: MIT
 *
 * What each path of `forksafe serve` answers. In the serve process only; blocks while journals are
 * read.
 */
#ifndef FKS_SERVE_ANSWER_H
#define FKS_SERVE_ANSWER_H

#include "serve_http.h"

/* Answers GET or HEAD of a path. Returns the HTTP status, with a response to queue and its content
 * type; NULL for the response: there is no memory for one. */
struct fks_answer {
    unsigned status;
    struct MHD_Response *response; /* for MHD_destroy_response */
    const char *type;
};
struct fks_answer fks_answer_path(struct fks_http *http, struct MHD_Connection *connection,
                                  const char *path, bool head);

/* A line of text as a response. */
struct fks_answer fks_answer_line(unsigned status, const char *line);

#endif
