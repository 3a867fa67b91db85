"""What runs inside a kernel and beside it: the zygote, the kernel, its streams. The host never imports it."""
