/** What a brick does by itself: the health check and the janitor of `.glusterfs/landfill`. */
import { promises as fs } from 'node:fs'
import { type Clock, clock, type Timer } from '../../../src/core/clock.ts'
import { NULL_GFID } from '../../../src/core/gfid.ts'
import { S_IFDIR, S_IFMT } from '../../../src/core/iatt.ts'
import { readEntries } from '../../../src/sys/data.ts'
import * as entry from '../../../src/sys/entry.ts'
import { AT_FDCWD } from '../../../src/sys/libc.ts'
import { sameFile, statAt } from '../../../src/sys/stat.ts'
import { gfidOf } from './attributes.ts'
import type { Brick } from './brick.ts'

/** Entries removed before other work gets its turn. */
const ENTRIES_PER_TURN = 64

export class Housekeeping {
  readonly #brick: Brick
  readonly #onSick: (why: string) => void
  #health: Timer | undefined
  #janitor: Timer | undefined
  #stopped = false

  constructor(brick: Brick, onSick: (why: string) => void) {
    this.#brick = brick
    this.#onSick = onSick
  }

  /** Files that were unlinked while open have lost their last holder with the old process. */
  start(): void {
    this.#emptyUnlinked()
    this.#scheduleHealth(0)
    this.#scheduleJanitor(0)
  }

  stop(): void {
    this.#stopped = true
    this.#health?.clear()
    this.#janitor?.clear()
  }

  #emptyUnlinked(): void {
    const fd = entry.openAt(this.#brick.rootFd, '.glusterfs/unlink', entry.O_DIRECTORY)
    if (fd < 0) return
    for (;;) {
      const batch = readEntries(fd)
      if (typeof batch === 'number' || batch.length === 0) break
      for (const { name } of batch) if (!isDot(name)) entry.unlinkAt(fd, name)
    }
    entry.close(fd)
  }

  // --- health ------------------------------------------------------------------------------------

  #scheduleHealth(delayMs: number): void {
    const seconds = this.#brick.options['health-check-interval']
    if (seconds === 0 || this.#stopped) return
    this.#health = clock.after(delayMs, () => void this.#checkHealth(clock), true)
  }

  /** Writes the time and reads it back, in bounded time. */
  async #checkHealth(now: Clock): Promise<void> {
    const path = Buffer.from(`${this.#brick.path}/.glusterfs/health_check`, 'latin1')
    const timeoutMs = this.#brick.options['health-check-timeout'] * 1000
    const timer = now.after(timeoutMs, () => this.#sick('the disk does not answer'), true)
    try {
      const text = healthText(now.realtime().sec)
      await fs.writeFile(path, text, { mode: 0o644 })
      if ((await fs.readFile(path, 'latin1')) !== text) this.#sick('the disk lost what was written')
      else this.#scheduleHealth(this.#brick.options['health-check-interval'] * 1000)
    } catch (error) {
      this.#sick(`the disk fails: ${(error as Error).message}`)
    } finally {
      timer.clear()
    }
  }

  #sick(why: string): void {
    if (this.#stopped) return
    this.stop()
    this.#onSick(why)
  }

  // --- landfill ----------------------------------------------------------------------------------

  #scheduleJanitor(delayMs: number): void {
    if (this.#stopped) return
    this.#janitor = clock.after(delayMs, () => void this.#clear(), true)
  }

  async #clear(): Promise<void> {
    const brick = this.#brick
    if (brick.landfillUsed && !brick.options['disable-landfill-purge']) {
      brick.landfillUsed = false
      const fd = entry.openAt(brick.rootFd, '.glusterfs/landfill', entry.O_DIRECTORY)
      if (fd >= 0) {
        await this.#removeAll(fd)
        entry.close(fd)
      }
    }
    this.#scheduleJanitor(brick.options['janitor-sleep-duration'] * 1000)
  }

  /** Everything below the directory `fd`, handles included. */
  async #removeAll(fd: number): Promise<void> {
    const names: string[] = []
    for (;;) {
      const batch = readEntries(fd)
      if (typeof batch === 'number' || batch.length === 0) break
      for (const { name } of batch) if (!isDot(name)) names.push(name)
    }
    let turn = 0
    for (const name of names) {
      if (this.#stopped) return
      if (++turn % ENTRIES_PER_TURN === 0) await yieldTurn()
      await this.#removeOne(fd, name)
    }
  }

  async #removeOne(dirFd: number, name: string): Promise<void> {
    const stat = statAt(dirFd, name)
    if (typeof stat === 'number') return
    const gfid = gfidOf(`/proc/self/fd/${dirFd}/${name}`)
    const isDir = (stat.mode & S_IFMT) === S_IFDIR
    if (isDir) {
      const fd = entry.openAt(dirFd, name, entry.O_DIRECTORY | entry.O_NOFOLLOW)
      if (fd < 0) return
      await this.#removeAll(fd)
      entry.close(fd)
      if (entry.rmdirAt(dirFd, name) < 0) return
    } else if (entry.unlinkAt(dirFd, name) < 0) return
    if (gfid === NULL_GFID) return
    this.#brick.forgetDir(gfid)
    const handle = statAt(AT_FDCWD, this.#brick.handle(gfid))
    if (typeof handle === 'number') return
    // A directory's handle dangles by now, unless its gfid lives on elsewhere. Of a file with more
    // names the handle stays.
    if (isDir ? this.#brick.dir(gfid) < 0 : sameFile(handle, stat) && handle.nlink === 1) {
      this.#brick.removeHandle(gfid)
    }
  }
}

const isDot = (name: string): boolean => name === '.' || name === '..'

const yieldTurn = (): Promise<void> =>
  new Promise((resolve) => {
    clock.after(0, resolve)
  })

/** `2026-11-22 13:59:11 +0000` */
function healthText(sec: number): string {
  const iso = new Intl.DateTimeFormat('sv-SE', {
    timeZone: 'UTC',
    dateStyle: 'short',
    timeStyle: 'medium',
  }).format(sec * 1000)
  return `${iso} +0000`
}
