/** A client that dies while others write through it. */
import type { ChildProcess } from 'node:child_process'
import { type Mount, run, sleep } from './sandbox.ts'

/** It lives this long under load, at most. */
const LIFE_MAX_MS = 400

/** Kills the client at a random moment after `allWrite`; the writers have ended then. */
export async function killMount(
  mount: Mount,
  writers: readonly ChildProcess[],
  allWrite: () => boolean,
  random: () => number,
): Promise<void> {
  const ended = Promise.all(
    writers.map((writer) => new Promise((resolve) => writer.on('close', resolve))),
  )
  for (let i = 0; i < 500 && !allWrite(); i++) await sleep(20)
  await sleep(20 + random() * LIFE_MAX_MS)
  process.kill(mount.pid, 'SIGKILL')
  await ended
  await run(['umount', '-l', mount.dir], { mayFail: true })
}
