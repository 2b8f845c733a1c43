/**
 * The syscall matrix on two volumes of one kind, through the stock client on one and through ours
 * on the other: every call returns the same, and each client sees the same of either.
 */
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Mount, ours, projectRoot, run, space, type Volume } from '../../lib/sandbox.ts'
import type { Results, Value } from './case.ts'
import { compare, type Difference, differsAgain, report } from './compare.ts'

/** MATRIX_CASES=rename,holes runs some cases only. */
const only = process.env.MATRIX_CASES?.split(',') ?? []

const program = join(projectRoot, 'dist/test/mount/matrix/run.js')

async function matrix<T>(...args: string[]): Promise<T> {
  const result = await run([process.execPath, program, ...args], { timeoutMs: 240_000 })
  if (result.stderr !== '') process.stderr.write(result.stderr)
  return JSON.parse(result.stdout) as T
}

type Tree = Record<string, Value>

export interface Kind {
  /** In titles; letters and digits of it in volume names. */
  shape: string
  create: (name: string) => Promise<Volume>
  /** After mounting: takes bricks away. */
  degrade?: (volume: Volume) => Promise<void>
  /** Where stock itself is at fault on such volumes. */
  known: (difference: Difference) => boolean
}

export function matrixOn(kind: Kind, skip: string | false): void {
  const { shape, create } = kind
  const degrade = kind.degrade ?? (async () => {})
  const unknown = (differences: Difference[]): Difference[] =>
    differences.filter((difference) => !kind.known(difference))

  void describe(`matrix on ${shape}`, { skip, timeout: 600_000 }, () => {
    const tag = shape.replaceAll(/\W/g, '')
    const volumes: Volume[] = []
    const mounts: Mount[] = []
    let local: string
    let stockResults: Results
    let localResults: Results

    before(async () => {
      for (const name of [`va${tag}`, `vb${tag}`]) volumes.push(await create(name))
      mounts.push(await volumes[0]!.mount('stock'), await volumes[1]!.mount(ours))
      for (const volume of volumes) await degrade(volume)
      local = space(`local${tag}`)
      mkdirSync(local)
      localResults = await matrix('matrix', local, ...only)
      stockResults = await matrix('matrix', mounts[0]!.dir, ...only)
    })

    async function rerun(cases: string[]): Promise<Results> {
      const volume = await create(`vc${tag}`)
      const mount = await volume.mount('stock')
      try {
        await degrade(volume)
        return await matrix<Results>('matrix', mount.dir, ...cases)
      } finally {
        await mount.unmount()
        await volume.destroy()
      }
    }

    after(async () => {
      for (const mount of mounts) await mount.unmount()
      for (const volume of volumes) await volume.destroy()
    })

    void test('every call returns what it returns through the stock mount', async () => {
      const ourResults = await matrix<Results>('matrix', mounts[1]!.dir, ...only)
      const reference = ours === 'stock' ? undefined : localResults
      const first = unknown(compare(stockResults, ourResults, reference))
      const differences = await differsAgain(first, rerun, ourResults, reference)
      assert.equal(differences.length, 0, report(differences))
    })

    void test('both clients see the same of what either wrote', async () => {
      mounts.push(await volumes[0]!.mount(ours), await volumes[1]!.mount('stock'))
      const [stockOnA, oursOnB, oursOnA, stockOnB] = await Promise.all(
        mounts.map((mount) => matrix<Tree>('tree', mount.dir)),
      )
      const reference = ours === 'stock' ? undefined : await matrix<Tree>('tree', local)
      const trees = { stockOnA, oursOnB, oursOnA, stockOnB }
      for (const [name, seen] of Object.entries(trees)) {
        const differences = unknown(compare(stockOnA!, seen!, reference))
        assert.equal(differences.length, 0, `${name}: ${report(differences)}`)
      }
    })
  })
}
