/**
 * Nothing stays mounted when the process dies, not even by kill -9: a small shell waits for the end
 * of a pipe only this process holds, and then detaches the mount if it is still ours. (Stock does
 * this for `-o auto_unmount` alone; else it leaves "Transport endpoint is not connected" behind.)
 * For half a second more it keeps the connections open (src/rpc/last-words.ts).
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { keepersEnd } from '../rpc/last-words.ts'

// It comes through the pipe, so that `ps` shows `gluster-unmount -s -- DIR DEVICE` and no script.
const script = `trap '' HUP INT TERM
printf gluster-unmount >/proc/$$/comm
cd /
if read -r word; then exit 0; fi
{ sleep 0.5 2>/dev/null || sleep 1; } &
exec 3<&-
grep -q "^[0-9]* [0-9]* $2 " /proc/self/mountinfo || exit 0
umount -i -l -- "$1" 2>/dev/null || umount -l -- "$1"
`

export class Watchdog {
  readonly #process: ChildProcess

  /** `device` is the mount's `major:minor`: what is detached must be this mount. */
  constructor(mountPoint: string, device: string) {
    this.#process = spawn('/bin/sh', ['-s', '--', mountPoint, device], {
      argv0: 'gluster-unmount',
      cwd: '/',
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore', keepersEnd() ?? 'ignore'],
    })
    // Without it the mount works all the same.
    this.#process.on('error', () => undefined)
    this.#process.stdin!.on('error', () => undefined)
    this.#process.stdin!.write(script)
    this.#process.unref()
    ;(this.#process.stdin as unknown as { unref(): void }).unref()
  }

  /** The mount is gone in an orderly way: nothing is left to do. */
  stop(): void {
    this.#process.stdin!.end('unmounted\n')
  }
}
