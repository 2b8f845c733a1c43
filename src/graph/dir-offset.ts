/**
 * Directory offsets across bricks (gf_itransform, gf_deitransform): every leaf of the graph mixes
 * its own index into the offsets it hands up, so that an offset alone says which leaf can continue
 * the listing. protocol/client encodes and decodes; translators above only ask for the leaf.
 *
 * A brick's offset may use all 63 bits. While it is small enough the pair is packed as
 * `offset * leaves + leaf`; otherwise bit 62 is set and the leaf replaces the low bits of half the
 * offset, which loses those bits: bricks accept such an offset as a place to continue from.
 */
import type { GraphContext, Xlator } from '../core/xlator.ts'

const LEAF_TYPE = 'protocol/client'
const BIT_62 = 1n << 62n
const ALL_ONES = 0xffff_ffff_ffff_ffffn

/** The leaves (bricks) at and below `xl`, depth first, each once. */
export function leavesBelow(xl: Xlator): Xlator[] {
  const leaves: Xlator[] = []
  const seen = new Set<Xlator>()
  const walk = (at: Xlator): void => {
    if (seen.has(at)) return
    seen.add(at)
    if (at.type === LEAF_TYPE) leaves.push(at)
    for (const child of at.children) walk(child)
  }
  walk(xl)
  return leaves
}

/** All leaves of the graph; a leaf's id in offsets is its index here. */
export function leavesOfGraph(graph: GraphContext): Xlator[] {
  const top = graph.xlators.at(-1)
  return top === undefined ? [] : leavesBelow(top)
}

const leafNameCache = new WeakMap<Xlator, readonly string[]>()

/** What the leaves of the graph below `top` are called, in the order of their ids. */
export function leafNames(top: Xlator): readonly string[] {
  let names = leafNameCache.get(top)
  if (names === undefined) {
    names = leavesBelow(top).map(({ givenOptions }) =>
      [givenOptions.get('remote-host'), givenOptions.get('remote-subvolume')].join(':'),
    )
    leafNameCache.set(top, names)
  }
  return names
}

/**
 * An offset that a graph with the leaves `from` gave, for a graph with the leaves `to`. Where its
 * leaf is gone the listing begins anew: names then come twice, but none is left out.
 */
export function moveDirOffset(
  offset: bigint,
  from: readonly string[],
  to: readonly string[],
): bigint {
  if (offset === 0n || offset === ALL_ONES) return offset
  const leaf = to.indexOf(from[leafOfDirOffset(offset, from.length)] ?? '')
  if (leaf < 0) return 0n
  return encodeDirOffset(decodeDirOffset(offset, from.length), leaf, to.length)
}

/** Bits a leaf id needs: ceil(log2(leaves)). */
function leafBits(leaves: number): bigint {
  return BigInt(Math.ceil(Math.log2(leaves)))
}

/** The offset as parents see it. 0 (start) and all ones (end) stay what they are. */
export function encodeDirOffset(offset: bigint, leaf: number, leaves: number): bigint {
  if (offset === 0n || offset === ALL_ONES || leaves <= 1) return offset
  const bits = leafBits(leaves)
  if (offset >> (62n - bits) !== 0n) {
    const half = (offset >> 1n) & ~((1n << bits) - 1n)
    return BIT_62 | half | BigInt(leaf)
  }
  return offset * BigInt(leaves) + BigInt(leaf)
}

/** Index of the leaf that made the encoded `offset`. */
export function leafOfDirOffset(offset: bigint, leaves: number): number {
  if (leaves <= 1) return 0
  if ((offset & BIT_62) !== 0n) return Number(offset & ((1n << leafBits(leaves)) - 1n))
  return Number(offset % BigInt(leaves))
}

/** The brick's own offset. */
export function decodeDirOffset(offset: bigint, leaves: number): bigint {
  if (offset === 0n || offset === ALL_ONES || leaves <= 1) return offset
  if ((offset & BIT_62) !== 0n) {
    const mask = BIT_62 | ((1n << leafBits(leaves)) - 1n)
    return (offset & ~mask) << 1n
  }
  return offset / BigInt(leaves)
}

/** The child of `xl` that made the encoded `offset`, `undefined` when it was none of them. */
export function childOfDirOffset(xl: Xlator, offset: bigint): Xlator | undefined {
  const leaves = leavesOfGraph(xl.graph)
  const leaf = leaves[leafOfDirOffset(offset, leaves.length)]
  if (leaf === undefined) return undefined
  return xl.children.find((child) => leavesBelow(child).includes(leaf))
}
