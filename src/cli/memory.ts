/** Memory of a graph that has ended, given back soon after instead of when V8 would need it. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { clock, type Timer } from '../core/clock.ts'
import { trimMalloc } from './native.ts'

/** Several graphs that end one after the other are collected together. */
const COLLECT_AFTER_MS = 1500
/** A larger heap (many inodes in use) is left to V8: collecting it at once would take too long. */
const HEAP_BYTES_MAX = 256 * 2 ** 20

/** V8's own, with its rare option to give back all that is free. */
let collect: ((how: { type: 'major'; flavor: 'last-resort' }) => void) | undefined
let timer: Timer | undefined

/** Collects garbage in a while, once: some 50 ms in which nothing else is done. */
export function giveBackMemory(): void {
  timer?.clear()
  timer = clock.after(
    COLLECT_AFTER_MS,
    () => {
      timer = undefined
      if (process.memoryUsage().heapUsed > HEAP_BYTES_MAX) return
      if (collect === undefined) {
        setFlagsFromString('--expose-gc')
        collect = runInNewContext('gc') as typeof collect
      }
      collect?.({ type: 'major', flavor: 'last-resort' })
      trimMalloc()
    },
    true,
  )
}
