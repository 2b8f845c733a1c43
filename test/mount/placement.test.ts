/** 2,000 names in 20 directories land on the bricks that the stock client chooses. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { Peer } from '../lib/peer.ts'
import { enterSandbox, type Mount, ours, projectRoot, run, Volume } from '../lib/sandbox.ts'
import type { BrickTree } from './matrix/bricks.ts'
import { pattern } from './matrix/case.ts'
import { compare, report } from './matrix/compare.ts'

const skip = await enterSandbox(import.meta.url)

const directories = 20
const namesEach = 100

/** Names of all lengths and bytes, temporary names of rsync and editors among them. */
function names(directory: number): string[] {
  const plain = ['a', 'file.txt', '.hidden', 'UPPER', '..x', '.a.b.c', '~', 'x@y', 'x@v-dht:y']
  return Array.from({ length: namesEach }, (_, i) => {
    const number = directory * namesEach + i
    if (i < plain.length) return `${plain[i]}${directory}`
    if (i % 5 === 0) return `.document-${number}.txt.aB3dE${i}`
    if (i % 5 === 1) return `file-${number}`
    const bytes = pattern(1 + ((number * 37) % 250), number)
    // neither NUL nor slash; the number makes it unique
    return `${bytes.latin1Slice().replaceAll(/[\0/]/g, '_')}${number}`.slice(-255)
  })
}

async function create(mount: Mount): Promise<void> {
  const peer = new Peer()
  let parent = mount.dir
  for (let d = 0; d < directories; d++) {
    // every fourth one deeper: a layout depends on the whole path
    const dir = `${d % 4 === 0 ? mount.dir : parent}/directory ${d}`
    await peer.must('mkdir', dir)
    parent = dir
    assert.equal(await peer.call('createAll', dir, ...names(d)), namesEach)
  }
  await peer.end()
}

describe('placement', { skip, timeout: 120_000 }, () => {
  for (const bricks of [3, 8]) {
    test(`on ${bricks} bricks`, async () => {
      const [a, b] = [
        await Volume.create(`pa${bricks}`, { bricks }),
        await Volume.create(`pb${bricks}`, { bricks }),
      ]
      const mounts = [await a.mount('stock'), await b.mount(ours)]
      await Promise.all(mounts.map(create))
      const program = join(projectRoot, 'dist/test/mount/matrix/run.js')
      const [theirs, mine] = await Promise.all(
        [a, b].map(async (volume) => {
          const words = [process.execPath, program, 'bricks', volume.name, ...volume.bricks]
          return JSON.parse((await run(words)).stdout) as BrickTree[]
        }),
      )
      let files = 0
      for (let i = 0; i < bricks; i++) {
        const differences = compare(theirs![i]!, mine![i]!, {})
        assert.equal(differences.length, 0, `brick ${i}: ${report(differences)}`)
        files += Object.values(mine![i]!).filter((node) => node.type === 'file').length
      }
      assert.equal(files, directories * namesEach)
      for (const mount of mounts) await mount.unmount()
      for (const volume of [a, b]) await volume.killBricks()
    })
  }
})
