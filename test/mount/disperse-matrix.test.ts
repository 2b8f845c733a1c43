/**
 * The syscall matrix on dispersed volumes: through the stock client on one and through ours on
 * another; every call returns the same, and each client sees the same of either, with all bricks
 * there and with as many missing as may be.
 */
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { enterSandbox, type Mount, ours, projectRoot, run, space, Volume } from '../lib/sandbox.ts'
import type { Results, Value } from './matrix/case.ts'
import { compare, type Difference, differsAgain, report } from './matrix/compare.ts'
import { type DisperseShape, knownOnDisperse } from './matrix/known.ts'

const skip = await enterSandbox(import.meta.url)

/**
 * DISPERSE_SHAPES=4+2 runs one; MATRIX_CASES=rename,holes some cases only. Also meant to be run with
 * 4+2, 2x4+2 and 8+3, which take minutes each and teach little beyond these two.
 */
const shapes = process.env.DISPERSE_SHAPES?.split(',') ?? ['2+1', '4+2 degraded']
const only = process.env.MATRIX_CASES?.split(',') ?? []

const unknown = (differences: Difference[], shape: DisperseShape): Difference[] =>
  differences.filter((one) => !knownOnDisperse(one, shape))

const program = join(projectRoot, 'dist/test/mount/matrix/run.js')

async function matrix<T>(...args: string[]): Promise<T> {
  const result = await run([process.execPath, program, ...args], { timeoutMs: 240_000 })
  if (result.stderr !== '') process.stderr.write(result.stderr)
  return JSON.parse(result.stdout) as T
}

type Tree = Record<string, Value>

function shapeOf(shape: string): DisperseShape & { copies: number } {
  const match = /^(?:(\d+)x)?(\d+)\+(\d+)/.exec(shape)
  assert.ok(match !== null, `shape ${shape}`)
  return { copies: Number(match[1] ?? 1), data: Number(match[2]), redundancy: Number(match[3]) }
}

for (const shape of shapes) {
  void describe(`matrix on ${shape}`, { skip, timeout: 600_000 }, () => {
    const { copies, data, redundancy } = shapeOf(shape)
    const width = data + redundancy
    const volumes: Volume[] = []
    const mounts: Mount[] = []
    let local: string
    let stockResults: Results
    let localResults: Results

    const layout = ['disperse-data', String(data), 'redundancy', String(redundancy)]
    const create = (name: string): Promise<Volume> =>
      Volume.create(name, { bricks: copies * width, layout })
    const degrade = async (volume: Volume): Promise<void> => {
      if (!shape.endsWith('degraded')) return
      for (let i = 0; i < redundancy; i++) await volume.killBrick(2 * i + 1)
    }

    before(async () => {
      const tag = shape.replaceAll(/\W/g, '')
      for (const name of [`va${tag}`, `vb${tag}`]) volumes.push(await create(name))
      mounts.push(await volumes[0]!.mount('stock'), await volumes[1]!.mount(ours))
      for (const volume of volumes) await degrade(volume)
      local = space(`local${tag}`)
      mkdirSync(local)
      localResults = await matrix('matrix', local, ...only)
      stockResults = await matrix('matrix', mounts[0]!.dir, ...only)
    })

    async function rerun(cases: string[]): Promise<Results> {
      const volume = await create(`vc${shape.replaceAll(/\W/g, '')}`)
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
      const first = unknown(compare(stockResults, ourResults, reference), { data, redundancy })
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
        const differences = unknown(compare(stockOnA!, seen!, reference), { data, redundancy })
        assert.equal(differences.length, 0, `${name}: ${report(differences)}`)
      }
    })
  })
}
