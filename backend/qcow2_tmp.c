#include <errno.h>
#include "backend/block_image.h"
struct image *qcow2_open(int fd, uint64_t file_bytes, const struct image_options *options,
			 struct fail *why)
{
	(void)fd;
	(void)file_bytes;
	fail(why, -ENOTSUP, "%s: qcow2 images are not supported yet", options->path);
	return NULL;
}
const char *qcow2_backing(const struct image *image, const char **format)
{
	(void)image;
	*format = NULL;
	return NULL;
}
struct image *image_overlay(struct image *base, struct fail *why)
{
	fail(why, -ENOTSUP, "%s: an overlay is not supported yet", base->path);
	return NULL;
}
