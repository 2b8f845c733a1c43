/** Compares what two runs of the matrix recorded, leaf by leaf. */
import type { Value } from './case.ts'
import { accepted } from './known.ts'

export interface Difference {
  /** Case, key and field, as in `times/by fd stat.mtime`. */
  at: string
  stock: string
  ours: string
  /** What the same call gives on a local file system. */
  local?: string | undefined
}

type Nested = Record<string, Value | Record<string, Value>>

function flatten(nested: Nested): Map<string, string> {
  const leaves = new Map<string, string>()
  const add = (path: string, value: Value | undefined): void => {
    if (value !== null && typeof value === 'object' && !Array.isArray(value)) {
      for (const [key, inner] of Object.entries(value)) add(`${path}.${key}`, inner)
    } else leaves.set(path, JSON.stringify(value))
  }
  for (const [name, record] of Object.entries(nested)) {
    if (record === null || typeof record !== 'object' || Array.isArray(record)) add(name, record)
    else for (const [key, value] of Object.entries(record)) add(`${name}/${key}`, value)
  }
  return leaves
}

/**
 * What is not equal and not in the table of known differences. `local`: the results of the same
 * calls on a local file system; `lenient`: both clients are the stock one.
 */
export function compare(
  stock: Nested,
  ours: Nested,
  local?: Nested,
  lenient = local === undefined,
): Difference[] {
  const [a, b, reference] = [flatten(stock), flatten(ours), flatten(local ?? {})]
  const differences: Difference[] = []
  for (const at of new Set([...a.keys(), ...b.keys()])) {
    const difference = {
      at,
      stock: a.get(at) ?? 'absent',
      ours: b.get(at) ?? 'absent',
      local: reference.get(at),
    }
    if (!accepted(difference, lenient)) differences.push(difference)
  }
  return differences
}

/**
 * Stock has races of its own (attributes of a moment ago, errors reported late). What it answers
 * the same way as we do when the case is run once more on a fresh volume is no difference; what
 * differs twice is. `rerun` runs the named cases through stock.
 */
export async function differsAgain(
  differences: Difference[],
  rerun: (cases: string[]) => Promise<Nested>,
  ours: Nested,
  local: Nested | undefined,
  lenient = local === undefined,
): Promise<Difference[]> {
  if (differences.length === 0) return differences
  const cases = [...new Set(differences.map(({ at }) => at.slice(0, at.indexOf('/'))))]
  const again = new Set(compare(await rerun(cases), ours, local, lenient).map(({ at }) => at))
  return differences.filter(({ at }) => again.has(at))
}

export function report(differences: Difference[]): string {
  const lines = differences.slice(0, 100).map(({ at, stock, ours, local }) => {
    const reference = local === undefined ? '' : `; local ${local}`
    return `  ${at}: stock ${stock}; ours ${ours}${reference}`
  })
  return `${differences.length} differences\n${lines.join('\n')}`
}
