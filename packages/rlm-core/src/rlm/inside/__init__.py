"""Code that runs in a kernel and in the zygote that starts kernels. The host never imports it."""
