/** The binaries of peers, as an operator gives them on a command line. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { InvalidArgumentError, Option } from 'commander'
import { unpack } from '../harness/build.ts'
import { PEERS } from '../harness/subjects/all.ts'

/** Paths by the names of PEERS. */
export type Peers = Readonly<Record<string, string>>

/** `--peer`, which may be given for each. */
export function peerOption(): Option {
  const about = 'a peer to compare with: tsnsrv=FILE, tsbridge=FILE; .xz is unpacked'
  return new Option('--peer <name=path>', about).argParser(peer).default({})
}

/** With binaries that are ready to start, for as long as `use` takes. */
export async function withPeers<T>(given: Peers, use: (peers: Peers) => Promise<T>): Promise<T> {
  const scratch = await mkdtemp(join(tmpdir(), 'tsnsrv-bench-'))
  try {
    const peers: Record<string, string> = {}
    for (const [name, path] of Object.entries(given)) peers[name] = await unpack(path, scratch)
    return await use(peers)
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

function peer(text: string, before: Peers): Peers {
  const [, name = '', path = ''] = /^([^=]+)=(.+)$/.exec(text) ?? []
  if (!(name in PEERS))
    throw new InvalidArgumentError(
      `want ${Object.keys(PEERS)
        .map((known) => `${known}=FILE`)
        .join(' or ')}`,
    )
  return { ...before, [name]: path }
}
