/*
 * options_lists.h - the options that may be given several times, once all are known.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CONTROL_OPTIONS_LISTS_H
#define CONTROL_OPTIONS_LISTS_H

#include "control/options.h"

/* An image alone gets the user's network, "none" takes it away. -EINVAL with a sentence. */
int options_settle_networks(struct run_options *o, struct fail *why);
/* The words of --disk, --port, --net, --vsock and --share. -EINVAL with a sentence. */
int options_check_lists(const struct run_options *o, struct fail *why);

#endif
