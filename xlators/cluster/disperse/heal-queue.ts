/**
 * Background heals of this client: some run at a time, some wait, the rest is dropped; whoever
 * finds the damage next asks again (ec_heal_throttle).
 */
import {
  CLIENT_PID_SELF_HEALD,
  type Creds,
  type Frame,
  ROOT_CREDS,
} from '../../../src/core/frame.ts'
import type { Gfid } from '../../../src/core/gfid.ts'
import { gfidText } from '../../../src/core/gfid.ts'
import type { Iatt } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { type HealResult, healInode } from './heal.ts'
import { healName } from './heal-name.ts'
import type { Disperse } from './index.ts'
import { newLockOwner } from './inode-lock.ts'

interface Task {
  readonly key: string
  readonly run: (frame: Frame) => Promise<HealResult>
}

/** Heals act as the self-heal daemon, whose changes bricks and quorum treat apart. */
export const healCreds = (): Creds => ({
  ...ROOT_CREDS,
  pid: CLIENT_PID_SELF_HEALD,
  lkOwner: newLockOwner(),
})

export class HealQueue {
  readonly #ec: Disperse
  readonly #waiting: Task[] = []
  readonly #known = new Set<string>()
  #running = 0
  attempted = 0
  completed = 0

  constructor(ec: Disperse) {
    this.#ec = ec
  }

  get running(): number {
    return this.#running
  }

  get waiting(): number {
    return this.#waiting.length
  }

  /** Metadata only when `partial`, as for a directory that was merely looked at. */
  inode(frame: Frame, gfid: Gfid, stat: Iatt, partial: boolean): void {
    if (frame.creds.pid === CLIENT_PID_SELF_HEALD) return
    const inode = this.#ec.graph.inodes.findOrNew(gfid, stat.mode & 0o170000)
    this.known(inode, partial)
  }

  known(inode: Inode, partial: boolean): void {
    const key = `${inode.gfid}${partial ? 'p' : ''}`
    this.#add({ key, run: (frame) => healInode(this.#ec, frame, inode, { partial }) })
  }

  /** (parent, name) is missing on some bricks; then what it names is healed too. */
  name(frame: Frame, parent: Inode, name: string, stat: Iatt): void {
    if (frame.creds.pid === CLIENT_PID_SELF_HEALD) return
    const inode = this.#ec.graph.inodes.findOrNew(stat.gfid, stat.mode & 0o170000)
    this.#add({
      key: `${parent.gfid}/${name}`,
      run: async (healing) => {
        const named = await healName(this.#ec, healing, parent, name)
        if (named.errno !== 0) return named
        return healInode(this.#ec, healing, inode, { partial: false })
      },
    })
  }

  #add(task: Task): void {
    const { 'background-heals': runningMax, 'heal-wait-qlength': waitingMax } = this.#ec.options
    if (runningMax === 0 || this.#known.has(task.key)) return
    if (this.#running >= runningMax && this.#waiting.length >= waitingMax) return
    this.#known.add(task.key)
    this.#waiting.push(task)
    this.#start()
  }

  #start(): void {
    while (this.#running < this.#ec.options['background-heals']) {
      const task = this.#waiting.shift()
      if (task === undefined) return
      this.#running++
      this.attempted++
      void this.#ec.graph.pool.background(
        this.#ec.self,
        'disperse-heal',
        healCreds(),
        async (frame) => {
          try {
            const result = await task.run(frame)
            if (result.errno === 0) this.completed++
            this.#ec.log.debug({ errno: result.errno, key: keyText(task.key) }, 'background heal')
          } finally {
            this.#running--
            this.#known.delete(task.key)
            this.#start()
          }
        },
      )
    }
  }
}

const keyText = (key: string) => `${gfidText(key.slice(0, 16) as Gfid)}${key.slice(16)}`
