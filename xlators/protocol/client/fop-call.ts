/** One fop on its way to the brick and back. */
import { type Errno, toErrno } from '../../../src/core/errno.ts'
import type { FopName, Rep, Req } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { Pending } from '../../../src/rpc/connection.ts'
import { type Reader, XdrError } from '../../../src/xdr/reader.ts'
import type { FopEntry, WireContext } from './fops.ts'

export class FopCall<K extends FopName> extends Pending {
  readonly #entry: FopEntry<K>
  readonly #req: Req<K>
  readonly #context: WireContext
  readonly #frame: Frame
  readonly #resolve: (rep: Rep<K>) => void

  constructor(
    entry: FopEntry<K>,
    req: Req<K>,
    context: WireContext,
    frame: Frame,
    resolve: (rep: Rep<K>) => void,
  ) {
    super(entry.procedure, entry.payloadSize?.(req))
    this.#entry = entry
    this.#req = req
    this.#context = context
    this.#frame = frame
    this.#resolve = resolve
  }

  override get patient(): boolean {
    return this.#entry.blocks?.(this.#req) === true
  }

  reply(body: Reader, payload: Buffer[]): void {
    const entry = this.#entry
    const rsp = entry.procedure.reply.decode(body)
    if (body.remaining !== 0) {
      throw new XdrError('reply', body.position, `${body.remaining} bytes are left over`)
    }
    this.#resolve(
      rsp.op_ret < 0
        ? { errno: toErrno(rsp.op_errno), xdata: rsp.xdata }
        : entry.reply(rsp, this.#req, this.#context, this.#frame, payload),
    )
  }

  fail(errno: Errno): void {
    this.#resolve({ errno })
  }
}
