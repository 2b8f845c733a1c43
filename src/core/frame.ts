import { assert } from './assert.ts'
import type { Client } from './client.ts'
import { clock, NEVER } from './clock.ts'
import type { FopError, FopName, FopTable, MaybePromise, Rep, Req } from './fop.ts'
import type { Xlator } from './xlator.ts'

/** On whose behalf a fop runs; what protocol/client puts into the RPC credential. Immutable. */
export interface Creds {
  readonly uid: number
  readonly gid: number
  /** Negative for internal clients (GF_CLIENT_PID_*). */
  readonly pid: number
  /** Supplementary groups. */
  readonly groups: readonly number[]
  /** Lock owner, 0..1024 bytes; empty = none. */
  readonly lkOwner: Buffer
  /** Which times of the objects the brick takes from `timeSec`/`timeNsec` (features/utime). */
  readonly timeFlags: number
  readonly timeSec: number
  readonly timeNsec: number
  /** On a brick: whose fop it is. Undefined on clients and for the brick's own housekeeping. */
  readonly client?: Client | undefined
}

/** Whether what is allowed to one is allowed to the other. */
export function sameIds(a: Creds, b: Creds): boolean {
  if (a === b) return true
  if (a.uid !== b.uid || a.gid !== b.gid || a.groups.length !== b.groups.length) return false
  return a.groups.every((group, index) => group === b.groups[index])
}

export const NO_LK_OWNER = Buffer.alloc(0)
export const CLIENT_PID_NO_ROOT_SQUASH = -4
export const CLIENT_PID_SELF_HEALD = -6
export const CLIENT_PID_SET_UTIME = -13

export const ROOT_CREDS: Creds = {
  uid: 0,
  gid: 0,
  pid: 0,
  groups: [],
  lkOwner: NO_LK_OWNER,
  timeFlags: 0,
  timeSec: 0,
  timeNsec: 0,
  client: undefined,
}

/**
 * Which requests' frames take time stamps, for the latency of each translator. `latency`: all;
 * switched by io-stats and .meta. `samples`: so few that it costs nothing, which is all of them in
 * quiet times; what a mount does by itself.
 */
export const measure = { latency: false, samples: false }

/** Requests timed as samples in each window, and how long that is. */
const SAMPLES_MAX = 50
const SAMPLE_WINDOW_MS = 100

/** Since when (monotonic ms), and how many samples it has left. */
const sampleWindow = { since: NEVER, left: 0 }

function isTimed(now: number): boolean {
  if (measure.latency) return true
  if (!measure.samples) return false
  if (now - sampleWindow.since >= SAMPLE_WINDOW_MS) {
    sampleWindow.since = now
    sampleWindow.left = SAMPLES_MAX
  }
  return sampleWindow.left-- > 0
}

/** Frames a stack collects before answered ones are dropped. */
const FRAMES_PER_STACK_MAX = 1024

/** A request of the kernel, or a background job, with all its frames. */
export class Stack {
  /** Number of the call: the kernel's `unique`, or one of our own for background jobs. */
  readonly unique: number
  /** What started it: a FUSE opcode name or the job's name. */
  readonly type: string
  readonly pool: CallPool
  /** When it started, monotonic ms. */
  readonly begin: number
  /** Its frames take time stamps. */
  readonly timed: boolean
  /** The newest frame; older ones hang on `prev`. */
  last: Frame | undefined
  /** Arguments of what the root frame wound last: they say which file it is about. */
  asked: unknown
  frameCount = 0
  #holds = 0
  #ended = false

  constructor(pool: CallPool, unique: number, type: string) {
    this.pool = pool
    this.unique = unique
    this.type = type
    this.begin = clock.now()
    this.timed = isTimed(this.begin)
  }

  /** The request is answered; its frames are let go, unless something of it is held. */
  end(): void {
    this.#ended = true
    if (this.#holds === 0) this.pool.remove(this)
  }

  /** A part of it goes on after the answer, and stays to be seen until `drop`. */
  hold(): void {
    this.#holds++
  }

  drop(): void {
    this.#holds--
    if (this.#ended && this.#holds === 0) this.pool.remove(this)
  }

  /** Lets go of answered frames, so that a long job does not hold every frame it ever made. */
  compact(): void {
    const waiting = this.frames().filter((frame) => !frame.complete)
    this.last = undefined
    for (const frame of waiting) {
      frame.prev = this.last
      this.last = frame
    }
    this.frameCount = 0
  }

  /** Frames oldest first. */
  frames(): Frame[] {
    const frames: Frame[] = []
    for (let frame = this.last; frame !== undefined; frame = frame.prev) frames.push(frame)
    return frames.reverse()
  }
}

/** All requests and jobs under way. */
export class CallPool {
  readonly #stacks = new Set<Stack>()
  /** Stacks ever started. */
  total = 0
  #nextInternal = 1

  get count(): number {
    return this.#stacks.size
  }

  stacks(): IterableIterator<Stack> {
    return this.#stacks.values()
  }

  /** Starts a request at translator `xl` and returns its root frame. The caller ends the stack. */
  begin(xl: Xlator, type: string, creds: Creds, unique = 0): Frame {
    const stack = new Stack(this, unique !== 0 ? unique : this.#nextInternal++, type)
    this.#stacks.add(stack)
    this.total++
    return new Frame(stack, undefined, xl, undefined, creds)
  }

  remove(stack: Stack): void {
    this.#stacks.delete(stack)
  }

  /**
   * Runs a job nobody waits for (heal, refresh) as a stack of its own; it is ended and a throw is
   * logged here, so the caller may drop the promise.
   */
  async background(
    xl: Xlator,
    type: string,
    creds: Creds,
    job: (frame: Frame) => Promise<void>,
  ): Promise<void> {
    const frame = this.begin(xl, type, creds)
    try {
      await job(frame)
    } catch (error) {
      xl.log.error({ err: error }, `background job '${type}' failed: this is a bug`)
    } finally {
      frame.stack.end()
    }
  }
}

/**
 * One translator's part in a fop. `parent` is the frame that wound to it. `complete` once its
 * reply is known; frames of a pending stack that are not complete show where it waits.
 */
export class Frame {
  readonly stack: Stack
  readonly parent: Frame | undefined
  readonly xl: Xlator
  /** `undefined` for the root frame of a stack. */
  readonly fop: FopName | undefined
  readonly creds: Creds
  /** The stack's frame made before this one; rewritten by Stack.compact only. */
  prev: Frame | undefined
  /** The child whose reply is this frame's reply. */
  #tail: Frame | undefined
  /** Of a frame made by `with`: the frame whose reply a tail from here is. */
  #viewOf: Frame | undefined
  complete = false
  /** Monotonic ms; 0 unless the stack is timed. */
  begin = 0
  end = 0
  /** For state dumps only: what a long operation is doing. */
  local: unknown

  constructor(
    stack: Stack,
    parent: Frame | undefined,
    xl: Xlator,
    fop: FopName | undefined,
    creds: Creds,
  ) {
    this.stack = stack
    this.parent = parent
    this.xl = xl
    this.fop = fop
    this.creds = creds
    if (stack.frameCount >= FRAMES_PER_STACK_MAX) stack.compact()
    this.prev = stack.last
    stack.last = this
    stack.frameCount++
    if (stack.timed) this.begin = clock.now()
  }

  /** Hands the request to `sub`; its reply is ours. Use as `return frame.tail(…)`. */
  tail<K extends FopName>(sub: Xlator, fop: K, req: Req<K>): MaybePromise<Rep<K>> {
    const child = new Frame(this.stack, this, sub, fop, this.creds)
    const owner = this.#viewOf ?? this
    owner.#tail = child
    return (sub as unknown as FopTable)[fop](child, req)
  }

  /** Sends a fop to `sub` and gives its reply to look at. */
  wind<K extends FopName>(sub: Xlator, fop: K, req: Req<K>): MaybePromise<Rep<K>> {
    if (this.fop === undefined) this.stack.asked = req
    const child = new Frame(this.stack, this, sub, fop, this.creds)
    const rep = (sub as unknown as FopTable)[fop](child, req)
    if (rep instanceof Promise) {
      return rep.then((answer) => {
        child.close(answer.errno)
        return answer
      })
    }
    child.close(rep.errno)
    return rep
  }

  /**
   * Sends one fop to several children at once; the replies come in the order of `subs`. Never
   * rejects on a fop's error: errors are replies.
   */
  windAll<K extends FopName>(
    subs: readonly Xlator[],
    fop: K,
    req: (index: number) => Req<K>,
  ): Promise<Rep<K>[]> {
    return new Promise((resolve, reject) => {
      const replies = new Replies<K>(subs.length, subs.length, resolve)
      for (let i = 0; i < subs.length; i++) {
        this.#windInto(replies, i, subs[i]!, fop, req(i), reject)
      }
    })
  }

  /** Sends one fop to those of `subs` whose bit is set; the replies come at their indexes. */
  windMask<K extends FopName>(
    subs: readonly Xlator[],
    mask: number,
    fop: K,
    req: (index: number) => Req<K>,
  ): Promise<(Rep<K> | undefined)[]> {
    return new Promise((resolve, reject) => {
      let awaited = 0
      for (let i = 0; i < subs.length; i++) awaited += (mask >> i) & 1
      const replies = new Replies<K>(subs.length, awaited, resolve)
      for (let i = 0; i < subs.length; i++) {
        if (((mask >> i) & 1) === 1) this.#windInto(replies, i, subs[i]!, fop, req(i), reject)
      }
    })
  }

  #windInto<K extends FopName>(
    replies: Replies<K>,
    index: number,
    sub: Xlator,
    fop: K,
    req: Req<K>,
    reject: (error: unknown) => void,
  ): void {
    if (this.fop === undefined) this.stack.asked = req
    const child = new Frame(this.stack, this, sub, fop, this.creds)
    const rep = (sub as unknown as FopTable)[fop](child, req)
    const take = (answer: Rep<K>): void => {
      child.close(answer.errno)
      replies.put(index, answer)
    }
    if (rep instanceof Promise) rep.then(take).catch(reject)
    else take(rep)
  }

  /**
   * A frame at the same place in the stack acting for somebody else (root for housekeeping,
   * another lock owner for a transaction). Only what is wound from it uses the new credentials.
   */
  with(change: Partial<Creds>): Frame {
    const frame = new Frame(this.stack, this.parent, this.xl, this.fop, changed(this.creds, change))
    // It is a view of this frame, not a step of its own: nothing waits in it, and a tail from it
    // ends with this frame.
    frame.complete = true
    frame.#viewOf = this.#viewOf ?? this
    return frame
  }

  /** The reply is known: ends this frame and the tails below it. */
  close(errno: number): void {
    assert(!this.complete, 'frame closed twice')
    const now = this.stack.timed ? clock.now() : 0
    for (let frame: Frame | undefined = this; frame !== undefined; frame = frame.#tail) {
      frame.complete = true
      frame.end = now
      frame.xl.account(frame, errno)
    }
    if (this.parent?.fop === undefined && this.parent?.xl.isBridge) {
      this.parent.xl.account(this, errno)
    }
  }
}

/** Field by field, so that all have one shape. */
function changed(creds: Creds, change: Partial<Creds>): Creds {
  return {
    uid: change.uid ?? creds.uid,
    gid: change.gid ?? creds.gid,
    pid: change.pid ?? creds.pid,
    groups: change.groups ?? creds.groups,
    lkOwner: change.lkOwner ?? creds.lkOwner,
    timeFlags: change.timeFlags ?? creds.timeFlags,
    timeSec: change.timeSec ?? creds.timeSec,
    timeNsec: change.timeNsec ?? creds.timeNsec,
    client: change.client ?? creds.client,
  }
}

/** Replies that are waited for. */
class Replies<K extends FopName> {
  readonly #replies: Rep<K>[]
  #left: number
  readonly #done: (replies: Rep<K>[]) => void

  constructor(length: number, awaited: number, done: (replies: Rep<K>[]) => void) {
    this.#replies = new Array(length)
    this.#left = awaited
    this.#done = done
    if (awaited === 0) done(this.#replies)
  }

  put(index: number, reply: Rep<K>): void {
    this.#replies[index] = reply
    if (--this.#left === 0) this.#done(this.#replies)
  }
}

/** Did the fop fail? Narrows. */
export function failed<T extends { errno: number }>(rep: T): rep is Extract<T, FopError> {
  return rep.errno !== 0
}
