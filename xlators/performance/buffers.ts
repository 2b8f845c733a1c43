/** A kept buffer that pins this many times its size is copied out of what it is a part of. */
const PIN_RATIO_MAX = 4

/** `data` for keeping: does not pin much larger buffers it is part of. */
export function unpinned(data: Buffer[]): Buffer[] {
  let pinned = 0
  let size = 0
  for (const buffer of data) {
    pinned += buffer.buffer.byteLength
    size += buffer.length
  }
  return pinned > PIN_RATIO_MAX * size + Buffer.poolSize ? [Buffer.concat(data, size)] : data
}

/** The bytes [start, end) of a vector, without copying. */
export function sliceVector(data: readonly Buffer[], start: number, end: number): Buffer[] {
  const slices: Buffer[] = []
  let at = 0
  for (const buffer of data) {
    const from = Math.max(start - at, 0)
    const to = Math.min(end - at, buffer.length)
    if (from < to) slices.push(buffer.subarray(from, to))
    at += buffer.length
    if (at >= end) break
  }
  return slices
}
