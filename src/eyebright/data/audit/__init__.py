"""The audit: what is wrong with a set of images, measured. Plain functions of evidence; nothing here needs torch."""
