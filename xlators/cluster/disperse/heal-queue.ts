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
import { type Gfid, gfidText } from '../../../src/core/gfid.ts'
import { type Iatt, S_IFMT } from '../../../src/core/iatt.ts'
import type { Inode } from '../../../src/core/inode.ts'
import { healInode } from './heal.ts'
import type { HealResult } from './heal-common.ts'
import { healName } from './heal-name.ts'
import type { Disperse } from './index.ts'
import { newLockOwner } from './inode-lock.ts'

interface Task {
  readonly key: string
  readonly run: (frame: Frame) => Promise<HealResult>
  /** Damage was reported while it ran: what it did may not cover that. */
  again: boolean
}

export class HealQueue {
  readonly #ec: Disperse
  readonly #waiting: Task[] = []
  /** Waiting and running, by inode or name. */
  readonly #tasks = new Map<string, Task>()
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

  /** Heals act as the self-heal daemon, whose changes bricks and quorum treat apart. */
  creds(): Creds {
    return { ...ROOT_CREDS, pid: CLIENT_PID_SELF_HEALD, lkOwner: newLockOwner() }
  }

  /** An object a lookup found. Metadata only when `partial`. */
  inode(frame: Frame, gfid: Gfid, stat: Iatt, partial: boolean): void {
    if (frame.creds.pid === CLIENT_PID_SELF_HEALD) return
    this.known(this.#ec.graph.inodes.findOrNew(gfid, stat.mode & S_IFMT), partial)
  }

  known(inode: Inode, partial: boolean): void {
    this.#add(`${inode.gfid}${partial ? ' metadata' : ''}`, (frame) =>
      healInode(this.#ec, frame, inode, { partial, block: false }),
    )
  }

  /** (parent, name) is missing on some bricks. */
  name(frame: Frame, parent: Inode, name: string): void {
    if (frame.creds.pid === CLIENT_PID_SELF_HEALD) return
    this.#add(`${parent.gfid}/${name}`, (healing) => healName(this.#ec, healing, parent, name))
  }

  #add(key: string, run: Task['run']): void {
    const { 'background-heals': runningMax, 'heal-wait-qlength': waitingMax } = this.#ec.options
    if (runningMax === 0) return
    const known = this.#tasks.get(key)
    if (known !== undefined) {
      known.again = !this.#waiting.includes(known)
      return
    }
    if (this.#running >= runningMax && this.#waiting.length >= waitingMax) return
    const task = { key, run, again: false }
    this.#tasks.set(key, task)
    this.#waiting.push(task)
    this.#start()
  }

  #start(): void {
    while (this.#running < this.#ec.options['background-heals']) {
      const task = this.#waiting.shift()
      if (task === undefined) return
      this.#running++
      this.attempted++
      const { pool } = this.#ec.graph
      void pool.background(this.#ec.self, 'disperse-heal', this.creds(), (frame) =>
        this.#run(task, frame),
      )
    }
  }

  async #run(task: Task, frame: Frame): Promise<void> {
    let healed = false
    try {
      const result = await task.run(frame)
      healed = result.errno === 0
      if (healed) this.completed++
      this.#ec.log.debug({ errno: result.errno, what: keyText(task.key) }, 'background heal')
    } finally {
      this.#running--
      this.#tasks.delete(task.key)
      // Once more, not for ever: a heal that fails is tried when the damage is met again.
      if (task.again && healed) this.#add(task.key, task.run)
      this.#start()
    }
  }
}

const keyText = (key: string) => `${gfidText(key.slice(0, 16) as Gfid)}${key.slice(16)}`
