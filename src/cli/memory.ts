/**
 * Memory that is not needed any more goes back to the system when nobody would wait for it: V8 and
 * the C heap themselves keep what a busy time took, for the next one.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { clock, type Timer } from '../core/clock.ts'
import { trimMalloc } from './native.ts'

/** Several graphs that end one after the other are collected together. */
const COLLECT_AFTER_MS = 1500
/** Buffers are freed by another thread of V8, soon after the collection that found them unused. */
const FREED_AFTER_MS = 1000
/** Without requests for this long, the client counts as idle. */
const IDLE_MS = 3000
/** So many requests leave garbage that is worth collecting. */
const WORK_MIN = 1000
/** A larger heap (many inodes in use) is left to V8: collecting it at once would take too long. */
const HEAP_BYTES_MAX = 128 * 2 ** 20

/** Of the whole heap. V8's own function; with an argument it collects young objects alone. */
let collector: (() => void) | undefined
let timer: Timer | undefined

/** Some 30 ms, at most about 100, in which nothing else is done. */
function collect(): void {
  if (process.memoryUsage().heapUsed > HEAP_BYTES_MAX) return
  if (collector === undefined) {
    setFlagsFromString('--expose-gc')
    collector = runInNewContext('gc') as () => void
    setFlagsFromString('--no-expose-gc')
  }
  collector()
}

/** Something large has ended, such as a graph: gives its memory back in a while, once. */
export function giveBackMemory(): void {
  timer?.clear()
  timer = clock.after(
    COLLECT_AFTER_MS,
    () => {
      collect()
      timer = clock.after(FREED_AFTER_MS, trimMalloc, true)
    },
    true,
  )
}

/**
 * What is done in idle time, one step at a time. V8 makes the space of young objects small again
 * only when next to nothing was allocated for 5 s, so it is asked twice.
 */
const STEPS = [collect, trimMalloc, collect, trimMalloc] as const

/** Gives back once after each busy time. `requests` tells how many there were so far. */
export function giveBackWhenIdle(requests: () => number): void {
  let seen = 0
  let busyAt = 0
  let step: number = STEPS.length
  const look = (): void => {
    const count = requests()
    if (count - busyAt >= WORK_MIN) {
      busyAt = count
      step = 0
    }
    if (count === seen) STEPS[step++]?.()
    seen = count
    clock.after(IDLE_MS, look, true)
  }
  look()
}
