/** On whose behalf a request of the kernel runs. */
import * as fs from 'node:fs'
import { clock } from '../../../src/core/clock.ts'
import { CLIENT_PID_NO_ROOT_SQUASH, type Creds, NO_LK_OWNER } from '../../../src/core/frame.ts'
import { userGroups } from '../../../src/fuse/libc.ts'

/** Processes whose groups are remembered; the longest known goes first. */
const PROCESSES_MAX = 4096

interface Known {
  creds: Creds
  uid: number
  gid: number
  /** Monotonic ms. */
  until: number
}

export interface CredentialOptions {
  /** Seconds; 0 = look every time, -1 = send no groups. */
  readonly gidTimeout: number
  readonly resolveGids: boolean
  readonly clientPid: number | undefined
  readonly noRootSquash: boolean
  readonly uidMapRoot: number | undefined
}

export class Credentials {
  readonly #options: CredentialOptions
  readonly #byPid = new Map<number, Known>()

  constructor(options: CredentialOptions) {
    this.#options = options
  }

  /** Shared between requests of a process: nobody changes it. */
  of(uid: number, gid: number, pid: number): Creds {
    const known = this.#byPid.get(pid)
    if (known !== undefined && known.uid === uid && known.gid === gid) {
      if (clock.now() < known.until) return known.creds
    }
    const creds = this.#look(uid, gid, pid)
    const { gidTimeout } = this.#options
    if (gidTimeout > 0) {
      this.#byPid.delete(pid)
      if (this.#byPid.size >= PROCESSES_MAX) {
        for (const oldest of this.#byPid.keys()) {
          this.#byPid.delete(oldest)
          break
        }
      }
      this.#byPid.set(pid, { creds, uid, gid, until: clock.now() + gidTimeout * 1000 })
    }
    return creds
  }

  #look(uid: number, gid: number, pid: number): Creds {
    const { gidTimeout, resolveGids, clientPid, noRootSquash, uidMapRoot } = this.#options
    let groups: number[] = []
    if (gidTimeout >= 0) groups = resolveGids ? userGroups(uid, gid) : processGroups(pid)
    return {
      uid: uid === uidMapRoot ? 0 : uid,
      gid,
      pid: clientPid ?? (noRootSquash ? CLIENT_PID_NO_ROOT_SQUASH : pid),
      groups,
      lkOwner: NO_LK_OWNER,
      timeFlags: 0,
      timeSec: 0,
      timeNsec: 0,
      client: undefined,
    }
  }
}

/**
 * Supplementary groups of a process. None when it is gone or in another pid namespace (pid 0);
 * stock claims group 0 for those, which gives away rights nobody has.
 */
function processGroups(pid: number): number[] {
  if (pid === 0) return []
  try {
    const status = fs.readFileSync(`/proc/${pid}/status`, 'latin1')
    const line = /^Groups:[ \t]*(.*)$/m.exec(status)
    return line === null ? [] : line[1]!.split(' ').filter(Boolean).map(Number)
  } catch {
    return []
  }
}
