/** Sets of bricks as bit masks: bit i is brick i. At most 31 bricks, so a number is enough. */

export const bit = (brick: number): number => 1 << brick

export const has = (mask: number, brick: number): boolean => ((mask >> brick) & 1) !== 0

export function count(mask: number): number {
  let left = mask - ((mask >> 1) & 0x55555555)
  left = (left & 0x33333333) + ((left >> 2) & 0x33333333)
  return (((left + (left >> 4)) & 0x0f0f0f0f) * 0x01010101) >> 24
}

/** The bricks in `mask`, ascending. */
export function bricksOf(mask: number): number[] {
  const bricks: number[] = []
  for (let left = mask; left !== 0; left &= left - 1) bricks.push(31 - Math.clz32(left & -left))
  return bricks
}

/** The bricks in `mask`, from brick `first` on and around. */
export function ringFrom(mask: number, first: number): number[] {
  const bricks = bricksOf(mask)
  const at = bricks.findIndex((brick) => brick >= first)
  return at <= 0 ? bricks : [...bricks.slice(at), ...bricks.slice(0, at)]
}
