/**
 * Memory for file data. Buffers are small objects to V8, with large memory behind them that it
 * counts towards its next collection of the whole heap: streams of 1 MiB requests bring one of
 * those every 10 MiB, 10 to 40 ms of CPU time each. A collection of the young objects alone takes
 * 0.5 ms and finds nearly all such buffers dead, so one is asked for after every few of them.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Bytes handed out between collections. */
const YOUNG_BYTES_MAX = 8 * 2 ** 20
/**
 * By how much the heap with all buffers may grow before it is collected as a whole. Buffers that
 * were in use during two collections of the young are freed only then; V8's own choice for a heap
 * of 10 MiB leaves room for less than ten of them.
 */
const HEAP_GROWTH_PERCENT = 200

type Collect = (options: { type: 'minor' }) => void

let collect: Collect | undefined
let young = 0

function prepare(): Collect {
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH_PERCENT}`)
  // The function exists only in contexts made while the flag is on.
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as Collect
  setFlagsFromString('--no-expose-gc')
  return gc
}

/** A buffer of its own with undefined content, for file data. */
export function allocateData(size: number): Buffer<ArrayBuffer> {
  young += size
  if (young > YOUNG_BYTES_MAX) {
    young = size
    collect ??= prepare()
    collect({ type: 'minor' })
  }
  return Buffer.allocUnsafeSlow(size)
}
