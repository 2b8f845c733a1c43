/** The volfile of the mount and the graph built from it: fetched, watched, replaced in place. */
import { readFileSync } from 'node:fs'
import { registry } from '../../xlators/registry.ts'
import { assert } from '../core/assert.ts'
import { GlusterError } from '../core/errors.ts'
import type { CallPool } from '../core/frame.ts'
import type { InodeTable } from '../core/inode.ts'
import type { ProcessContext, XlatorDefinition } from '../core/xlator.ts'
import { buildGraph, type Graph, withAutoload, type XlatorOption } from '../graph/build.ts'
import { reconfigureGraph, sameTopology } from '../graph/reconfigure.ts'
import {
  formatVolfile,
  parseVolfile,
  type Volfile,
  type VolumeDefinition,
} from '../graph/volfile.ts'
import { logFor } from '../observe/log.ts'
import { defaultTlsFiles, readTlsFiles, type TlsSettings } from '../rpc/tls.ts'
import { ManagementConnection } from '../rpc/volfile-server.ts'
import { type ClientSetup, volumeName } from './client-setup.ts'
import { giveBackMemory } from './memory.ts'

/** Throws GlusterError OPTION_INVALID naming the file that is missing. */
function managementTls(depth: number): TlsSettings {
  return readTlsFiles({ ...defaultTlsFiles(), depth }, 'TLS to glusterd')
}

/** Put on top of the volfile's translators, each above the one before. */
function autoload({ values }: ClientSetup): { name: string; type: string }[] {
  const acl = values.acl || values['user-map-root'] !== undefined
  return [
    ...(acl ? [{ name: 'posix-acl-autoload', type: 'system/posix-acl' }] : []),
    ...(values['aux-gfid-mount']
      ? [{ name: 'gfid-access-autoload', type: 'features/gfid-access' }]
      : []),
    { name: 'meta-autoload', type: 'meta' },
  ]
}

/** Mount options that translators of the volfile must know of; `--xlator-option` goes last. */
function overrides({ values, overrides }: ClientSetup): XlatorOption[] {
  const on = (key: string): XlatorOption => ({ pattern: '*-md-cache', key, value: 'true' })
  return [
    ...(values.acl ? [on('cache-posix-acl')] : []),
    ...(values.selinux ? [on('cache-selinux')] : []),
    ...overrides,
  ]
}

const log = () => logFor('glusterfs')

/** The definition behind a volfile type. */
export async function loadXlator(type: string): Promise<XlatorDefinition | undefined> {
  const loader = Object.hasOwn(registry, type) ? registry[type] : undefined
  return (await loader?.())?.default
}

export class VolumeGraph {
  readonly #setup: ClientSetup
  readonly #connection: ManagementConnection | undefined
  #text = ''
  /** The newest; the bridge may still be serving from the one before it. */
  #graph: Graph | undefined
  /** A change that came before anybody followed. */
  #early: { text: string; source: string } | undefined
  /** Graphs built so far: the next one's id. */
  #built = 0
  /** Where graphs belong, set by `load`. */
  #context: { process: ProcessContext; pool: CallPool; inodes: InodeTable } | undefined
  #onNewGraph: ((graph: Graph) => void) | undefined
  /** Old graphs that still settle what they hold back. */
  readonly #retiring = new Set<Promise<void>>()
  /** Volfiles are applied one after the other. */
  #applying: Promise<void> = Promise.resolve()

  constructor(setup: ClientSetup, onStatedump: () => void) {
    this.#setup = setup
    const { origin } = setup
    if (origin.kind === 'file') return
    this.#connection = new ManagementConnection({
      servers: origin.servers.map((server) =>
        origin.transport === 'unix'
          ? { transport: 'unix', path: server }
          : { transport: 'tcp', host: server, port: origin.port },
      ),
      volfileId: origin.volfileId,
      addressFamily: origin.family,
      ...(setup.secureMgmt ? { tls: managementTls(setup.managementDepth) } : {}),
      onStatedump,
      onVolfile: (text, source) => this.#changed(text, source),
    })
  }

  get graph(): Graph | undefined {
    return this.#graph
  }

  /** Gets the volfile and builds the graph of it. Throws GlusterError. */
  async load(process: ProcessContext, pool: CallPool, inodes: InodeTable): Promise<Graph> {
    const volfileServer = (): string | undefined => this.#connection?.host
    this.#context = { process: { ...process, volfileServer }, pool, inodes }
    const { text, source } = await this.#fetch()
    this.#graph = await this.#build(this.#parse(text, source))
    this.#text = text
    return this.#graph
  }

  /**
   * From here on changes of the volfile are applied. `take` gets a graph of another shape, not
   * started yet, that is to take over from the current one.
   */
  follow(take: (graph: Graph) => void): void {
    this.#onNewGraph = take
    const early = this.#early
    if (early !== undefined) this.#changed(early.text, early.source)
  }

  async #build(volfile: Volfile): Promise<Graph> {
    assert(this.#context !== undefined, 'a graph needs its process')
    const graph = await buildGraph({
      volfile,
      load: loadXlator,
      id: this.#built,
      volfileId: volumeName(this.#setup),
      ...this.#context,
      overrides: overrides(this.#setup),
      autoload: autoload(this.#setup),
    })
    this.#built++
    logVolumes(graph.volumes)
    return graph
  }

  /** Asks the server for the volfile again. */
  refetch(): void {
    this.#connection?.refetch()
  }

  /** Stops a graph another one has taken over from. */
  retire(graph: Graph): void {
    const stopped = graph.stop().then(
      () => log().info(`graph ${graph.id} is stopped`),
      (error: unknown) => log().error({ err: error }, `graph ${graph.id} does not stop: a bug`),
    )
    this.#retiring.add(stopped)
    void stopped.then(() => {
      this.#retiring.delete(stopped)
      giveBackMemory()
    })
  }

  /** Lets go of servers and bricks, when everything written has reached these. */
  async close(): Promise<void> {
    this.#connection?.close()
    const graph = this.#graph
    this.#graph = undefined
    await Promise.all([...this.#retiring, graph?.stop()])
  }

  async #fetch(): Promise<{ text: string; source: string }> {
    const { origin } = this.#setup
    if (origin.kind === 'server') return this.#connection!.start()
    try {
      return { text: readFileSync(origin.path, 'latin1'), source: origin.path }
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      throw new GlusterError('VOLFILE_INVALID', `cannot read the volfile ${origin.path}: ${code}`)
    }
  }

  #parse(text: string, source: string): Volfile {
    const { origin, values } = this.#setup
    const volfile = parseVolfile(text, source, { allowCommands: origin.kind === 'file' })
    for (const volume of volfile.volumes) {
      if (volume.type === 'mount/fuse') {
        throw new GlusterError(
          'VOLFILE_INVALID',
          `${source}:${volume.line}: volume '${volume.name}': mount/fuse cannot be in a volfile`,
        )
      }
    }
    const name = values['volume-name']
    // Stock looks for the name only when it is written with a slash.
    return name?.startsWith('/') ? topAt(volfile, name.slice(1)) : volfile
  }

  #changed(text: string, source: string): void {
    if (this.#onNewGraph === undefined) {
      this.#early = { text, source }
      return
    }
    this.#applying = this.#applying.then(() => this.#apply(text, source))
  }

  /** Never rejects: whatever is wrong with the new volfile, the old graph goes on. */
  async #apply(text: string, source: string): Promise<void> {
    const graph = this.#graph
    if (graph === undefined) return
    if (text === this.#text) {
      log().info('No change in volfile, continuing')
      return
    }
    try {
      const input = {
        volfile: this.#parse(text, source),
        load: loadXlator,
        overrides: overrides(this.#setup),
        autoload: autoload(this.#setup),
      }
      if (!sameTopology(graph.volumes, withAutoload(input))) {
        const next = await this.#build(input.volfile)
        // closed in the meantime: nobody will ever stop this one
        if (this.#graph === undefined) return void (await next.stop())
        this.#text = text
        this.#graph = next
        log().info(`the volume has changed its shape: graph ${next.id} takes over`)
        this.#onNewGraph?.(next)
        return
      }
      const changed = await reconfigureGraph(graph, input)
      this.#text = text
      log().info(`volfile changed: ${changed} translators reconfigured`)
    } catch (error) {
      const detail = error instanceof GlusterError ? {} : { err: error }
      const why = error instanceof Error ? error.message : String(error)
      log().error(detail, `the new volfile is refused, the old graph goes on: ${why}`)
    }
  }
}

/** The volfile as if volume `name` were its last one: that volume and all below it. */
function topAt(volfile: Volfile, name: string): Volfile {
  const byName = new Map(volfile.volumes.map((volume) => [volume.name, volume]))
  if (!byName.has(name)) {
    throw new GlusterError('BAD_VALUE', `--volume-name: ${volfile.source} has no volume '${name}'`)
  }
  const needed = new Set<string>()
  const queue = [name]
  for (const at of queue) {
    if (needed.has(at)) continue
    needed.add(at)
    queue.push(...byName.get(at)!.subvolumes)
  }
  return { ...volfile, volumes: volfile.volumes.filter((volume) => needed.has(volume.name)) }
}

const SECRET_OPTIONS = new Set(['username', 'password'])

/** The graph as it runs, for the log; what lets a client in is not shown. */
function logVolumes(volumes: readonly VolumeDefinition[]): void {
  const shown = volumes.map((volume) => {
    const options = new Map(volume.options)
    for (const key of options.keys()) if (SECRET_OPTIONS.has(key)) options.set(key, '***')
    return { ...volume, options }
  })
  log().info('Final graph:')
  for (const [index, line] of formatVolfile(shown).split('\n').entries()) {
    log().info(`${String(index + 1).padStart(3)}: ${line}`)
  }
}
