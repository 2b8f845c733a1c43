/**
 * Background heals of a mount: some run at a time, some wait, the rest is dropped; whoever finds
 * the damage next asks again.
 */
import { clock } from '../../../src/core/clock.ts'
import { E, errnoName } from '../../../src/core/errno.ts'
import {
  CLIENT_PID_SELF_HEALD,
  type Creds,
  type Frame,
  ROOT_CREDS,
} from '../../../src/core/frame.ts'
import { type Gfid, gfidText } from '../../../src/core/gfid.ts'
import type { Xlator } from '../../../src/core/xlator.ts'
import { newLockOwner } from './lock-owner.ts'

export interface HealLimits {
  /** 0 turns background heals off. */
  readonly runningMax: number
  readonly waitingMax: number
}

export type HealJob = (frame: Frame) => Promise<{ errno: number }>

/** How long an inode that another healer works on is left alone. */
const LEFT_MS = 10_000
/** Inodes of which that is remembered. */
const LEFT_MAX = 1024

interface Task {
  readonly key: string
  readonly run: HealJob
  /** Damage was reported while it ran: what it did may not cover that. */
  again: boolean
}

/** Heals act as the self-heal daemon, whose changes bricks and quorum treat apart. */
export function healCreds(): Creds {
  return { ...ROOT_CREDS, pid: CLIENT_PID_SELF_HEALD, lkOwner: newLockOwner() }
}

export class HealQueue {
  readonly #xl: Xlator
  /** Name of the stacks, for state dumps. */
  readonly #type: string
  readonly #limits: () => HealLimits
  readonly #waiting: Task[] = []
  /** Waiting and running, by inode or name. */
  readonly #tasks = new Map<string, Task>()
  /** Left to another healer: not before this time (monotonic ms) again. */
  readonly #leftUntil = new Map<string, number>()
  #running = 0
  attempted = 0
  completed = 0

  constructor(xl: Xlator, type: string, limits: () => HealLimits) {
    this.#xl = xl
    this.#type = type
    this.#limits = limits
  }

  get running(): number {
    return this.#running
  }

  get waiting(): number {
    return this.#waiting.length
  }

  /** Heals `key` (a gfid and what of it) soon, once however often it is asked for. */
  add(key: string, run: HealJob): void {
    const { runningMax, waitingMax } = this.#limits()
    if (runningMax === 0) return
    const known = this.#tasks.get(key)
    if (known !== undefined) {
      known.again = !this.#waiting.includes(known)
      return
    }
    if (this.#running >= runningMax && this.#waiting.length >= waitingMax) return
    if ((this.#leftUntil.get(key) ?? 0) > clock.now()) return
    const task = { key, run, again: false }
    this.#tasks.set(key, task)
    this.#waiting.push(task)
    this.#start()
  }

  /** Another healer is at work on it, or was until a moment ago. */
  #leave(key: string): void {
    this.#leftUntil.delete(key)
    this.#leftUntil.set(key, clock.now() + LEFT_MS)
    if (this.#leftUntil.size <= LEFT_MAX) return
    this.#leftUntil.delete(this.#leftUntil.keys().next().value!)
  }

  #start(): void {
    while (this.#running < this.#limits().runningMax) {
      const task = this.#waiting.shift()
      if (task === undefined) return
      this.#running++
      this.attempted++
      const { pool } = this.#xl.graph
      void pool.background(this.#xl, this.#type, healCreds(), (frame) => this.#run(task, frame))
    }
  }

  async #run(task: Task, frame: Frame): Promise<void> {
    let healed = false
    try {
      const { errno } = await task.run(frame)
      healed = errno === 0
      if (errno === E.AGAIN) this.#leave(task.key)
      if (healed) this.completed++
      const status = healed ? 'done' : errnoName(errno)
      this.#xl.log.debug({ status, what: keyText(task.key) }, 'background heal')
    } finally {
      this.#running--
      this.#tasks.delete(task.key)
      // Once more, not for ever: a heal that fails is tried when the damage is met again.
      if (task.again && healed) this.add(task.key, task.run)
      this.#start()
    }
  }
}

const keyText = (key: string) => `${gfidText(key.slice(0, 16) as Gfid)}${key.slice(16)}`
