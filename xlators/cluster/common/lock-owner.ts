/** Owners of the locks that translators take for themselves. */

let lastOwner = 0n

/** A lock owner no other lock of this process has or had. */
export function newLockOwner(): Buffer {
  lastOwner++
  const owner = Buffer.alloc(8)
  owner.writeBigUInt64LE(lastOwner)
  return owner
}
