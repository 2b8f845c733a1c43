/**
 * Would the erasure code be faster on another thread? A request handed to a worker and back, with
 * nothing to do and nothing to copy (the bytes would be in shared memory), beside encoding it here:
 * the least a worker costs, against all it could save.
 */
import { once } from 'node:events'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { clock } from '../../src/core/clock.ts'
import { Codec } from '../../xlators/cluster/disperse/codec/codec.ts'
import { Geometry } from '../../xlators/cluster/disperse/codec/geometry.ts'

/** 128 KiB is what the kernel writes at a time unless a volume says otherwise; 1 MiB the most. */
const SIZES = [131072, 1 << 20]
const ROUNDS = 2000

function encodeMicroseconds(size: number): number {
  const geometry = new Geometry(4, 2)
  const codec = new Codec(geometry)
  const data = Buffer.alloc(size, 1)
  const bricks = [0, 1, 2, 3, 4, 5]
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < ROUNDS; round++) {
    const began = clock.now()
    codec.encodeLent([data], size, bricks).loan?.drop()
    best = Math.min(best, clock.now() - began)
  }
  return best * 1000
}

/** Median and best time of a message to a worker and its answer. */
async function handOver(): Promise<{ median: number; best: number }> {
  const worker = new Worker(new URL(import.meta.url))
  await once(worker, 'online')
  const times: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const began = clock.now()
    worker.postMessage(round)
    await once(worker, 'message')
    times.push((clock.now() - began) * 1000)
  }
  await worker.terminate()
  times.sort((a, b) => a - b)
  return { median: times[times.length >> 1]!, best: times[0]! }
}

export async function benchWorker(print: (line: string) => void): Promise<void> {
  const [small, large] = SIZES.map(encodeMicroseconds)
  const { median, best } = await handOver()
  print(
    `encoding 4+2 on the client's thread: 128 KiB ${small!.toFixed(0)} us, 1 MiB ` +
      `${large!.toFixed(0)} us; to a worker thread and back without any work: best ` +
      `${best.toFixed(0)} us, median ${median.toFixed(0)} us`,
  )
}

if (!isMainThread) parentPort!.on('message', (round) => parentPort!.postMessage(round))
