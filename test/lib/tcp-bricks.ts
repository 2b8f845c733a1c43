/** Bricks in this process over TCP, and clients of them that keep what they are told. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import type { Event, Upcall } from '../../src/core/event.ts'
import { CallPool, ROOT_CREDS } from '../../src/core/frame.ts'
import { InodeTable } from '../../src/core/inode.ts'
import type { Xlator } from '../../src/core/xlator.ts'
import { buildGraph } from '../../src/graph/build.ts'
import { parseVolfile } from '../../src/graph/volfile.ts'
import { type RunningBrick, startBrick } from '../../src/server/brick.ts'
import { brickVolfile } from '../../src/server/volfiles.ts'
import { type Volume, VolumeStore } from '../../src/server/volume.ts'
import { registry } from '../../xlators/registry.ts'
import { BrickBench } from './brick-bench.ts'
import { sleep } from './sandbox.ts'
import { testProcess } from './scripted.ts'

/** A client of bricks that run in this process, and what it is told. */
export class Told extends BrickBench {
  readonly upcalls: Upcall[] = []
  #up = false

  static async connect(
    volume: Volume,
    bricks: readonly RunningBrick[],
    top: string,
  ): Promise<Told> {
    const clients = bricks.map(
      ({ port }, i) => `volume c${i}\ntype protocol/client\noption remote-host 127.0.0.1
option remote-port ${port}\noption remote-subvolume ${volume.bricks[i]}
option transport-type tcp\nend-volume\n`,
    )
    const names = bricks.map((_, i) => `c${i}`).join(' ')
    const above = top === '' ? '' : `volume top\n${top}\nsubvolumes ${names}\nend-volume\n`
    const graph = await buildGraph({
      volfile: parseVolfile(clients.join('') + above, 'test'),
      load: async (type) => (await registry[type]?.())?.default,
      id: 0,
      volfileId: 'test',
      pool: new CallPool(),
      inodes: new InodeTable(),
      process: { ...testProcess, uuid: randomUUID() },
    })
    const told = new Told(volume.bricks[0]!, graph)
    told.creds = { ...ROOT_CREDS, pid: 42, lkOwner: Buffer.from('testtest') }
    graph.top.parents.push({ notify: (event: Event) => told.#hear(event) } as unknown as Xlator)
    graph.start()
    for (let i = 0; i < 500 && !told.#up; i++) await sleep(10)
    assert.ok(told.#up, 'the bricks answer')
    return told
  }

  get isUp(): boolean {
    return this.#up
  }

  #hear(event: Event): void {
    if (event.type === 'child-up') this.#up = true
    else if (event.type === 'child-down') this.#up = false
    else if (event.type === 'upcall') this.upcalls.push(event.upcall)
  }

  /** The next upcall, waited for. */
  async next(): Promise<Upcall> {
    for (let i = 0; i < 500 && this.upcalls.length === 0; i++) await sleep(10)
    return this.upcalls.shift() ?? assert.fail('nothing was told')
  }
}

/** A volume below `base`: three bricks are a dispersed set of 2+1. */
export async function start(
  base: string,
  count: number,
  options: Record<string, string>,
): Promise<{ volume: Volume; bricks: RunningBrick[] }> {
  const paths = Array.from({ length: count }, (_, i) => join(base, `b${i}`))
  const shape = count === 3 ? { disperse: { data: 2, redundancy: 1 } } : {}
  const volume = { ...new VolumeStore(base).create('vol', shape, paths), options }
  const bricks: RunningBrick[] = []
  for (const path of paths) {
    bricks.push(await startBrick(brickVolfile(volume, path, '127.0.0.1'), 'test'))
  }
  return { volume, bricks }
}
