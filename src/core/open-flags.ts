/** Flags of open(2), Linux x86-64 (asm-generic/fcntl.h); what fds and fops carry. */
export const O_ACCMODE = 0o3
export const O_WRONLY = 0o1
export const O_RDWR = 0o2
export const O_TRUNC = 0o1000
export const O_APPEND = 0o2000
/** Part of O_SYNC too. */
export const O_DSYNC = 0o10000
export const O_DIRECT = 0o40000
