/** The file of `--pid-file`: locked while the process lives, and left behind when it ends. */
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { GlusterError } from '../core/errors.ts'
import { tryLock } from './native.ts'

/**
 * Opens, locks and fills the pid file. The lock belongs to the process and ends with it; the
 * descriptor stays open for that. Throws GlusterError BAD_VALUE.
 */
export function writePidFile(path: string): void {
  let fd: number
  try {
    fd = openSync(path, 'a+', 0o666)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new GlusterError('BAD_VALUE', `cannot open the pid file ${path}: ${code}`)
  }
  if (!tryLock(fd)) {
    closeSync(fd)
    throw new GlusterError('BAD_VALUE', `the pid file ${path} is locked by a running process`)
  }
  ftruncateSync(fd, 0)
  writeSync(fd, `${process.pid}\n`)
}
