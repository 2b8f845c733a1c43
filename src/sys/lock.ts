/** Whole-file locks (flock(2)): one holder at a time, let go when its process ends, however. */
import { closeSync, openSync } from 'node:fs'
import { bind } from './libc.ts'

const flockCall = bind('int flock(int fd, int operation)')
const LOCK_EX = 2
const LOCK_NB = 4

/**
 * Locks a file or directory for as long as this process lives. False while another holds it.
 * Throws the system error when it cannot be opened.
 */
export function lockForLife(path: string): boolean {
  const fd = openSync(path, 'r')
  if (flockCall(fd, LOCK_EX | LOCK_NB) >= 0) return true
  closeSync(fd)
  return false
}
