/** What `.meta` and the state dump show of a client process besides its active graph. */
import { clock } from '../core/clock.ts'
import type { Gfid } from '../core/gfid.ts'
import type { Iatt } from '../core/iatt.ts'
import type { GraphContext, Xlator } from '../core/xlator.ts'
import { stampText } from './log-format.ts'

export class Observed {
  /** Program and arguments as they were given. */
  readonly commandLine: string
  /** Absolute; `undefined` = standard error. */
  readonly logFile: string | undefined
  /** The FUSE bridge. */
  bridge: Xlator | undefined
  /** The graph that requests begin on. */
  active: () => GraphContext | undefined = () => undefined
  /** The volume's root as the bricks last described it. */
  root: Iatt | undefined
  /** Where in `.meta` the objects handed out stand, by gfid; path without the leading `.meta`. */
  readonly metaPaths = new Map<Gfid, string>()
  /** Graphs in use and those that still end, with their names. */
  readonly #graphs = new Map<GraphContext, string>()

  constructor(commandLine: string, logFile: string | undefined) {
    this.commandLine = commandLine
    this.logFile = logFile
  }

  /** A graph was built. */
  add(graph: GraphContext): void {
    const { sec, nsec } = clock.realtime()
    // Stock's form: a dash between day and hour, a space before the zone.
    const time = stampText(sec, Math.floor(nsec / 1000), false).replace(' ', '-')
    this.#graphs.set(graph, `${graph.process.hostname}-${process.pid}-${time}`)
  }

  remove(graph: GraphContext): void {
    const prefix = `graphs/${this.#graphs.get(graph)}`
    this.#graphs.delete(graph)
    for (const [gfid, path] of this.metaPaths) {
      if (path === prefix || path.startsWith(`${prefix}/`)) this.metaPaths.delete(gfid)
    }
  }

  /** Graph by name (graph_uuid). */
  graphs(): Map<string, GraphContext> {
    return new Map([...this.#graphs].map(([graph, name]) => [name, graph]))
  }

  nameOf(graph: GraphContext): string | undefined {
    return this.#graphs.get(graph)
  }
}
