/** Headscale with an empty database, and the relay (DERP and STUN) that it tells its nodes of. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { execa } from 'execa'
import { stringify } from 'yaml'
import * as z from 'zod'
import { lastWords } from './lastWords.ts'
import { type Command, startTool } from './tool.ts'

export interface ControlPlaneOptions {
  readonly binaries: { readonly headscale: string; readonly cheapKeys: string; readonly bench: string }
  /** Empty, and this control plane's own. */
  readonly directory: string
  /** IPv4 address where nodes reach it. */
  readonly address: string
  /** Brings a program into the network where that address is. */
  readonly place: (file: string, args: readonly string[]) => Command
}

export interface ControlPlane {
  readonly url: string
  /** Reusable. A secret of this run only. */
  readonly authKey: string
  stop(): Promise<void>
}

const PORT = 8080
const START_TIMEOUT_MS = 30_000
const Key = z.looseObject({ key: z.string() })

/** Starts both. Rejects with Headscale's own words, and then nothing is left running. */
export async function startControlPlane({ binaries, directory, address, place }: ControlPlaneOptions): Promise<ControlPlane> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const url = `http://${address}:${PORT}`
  const derpMap = join(directory, 'derp.yaml')
  const relay = await startTool(place(binaries.bench, ['relay', '-exit-with-stdin', '-host', address, '-derp-map', derpMap]))
  const configFile = join(directory, 'headscale.yaml')
  await writeFile(configFile, stringify(configuration(directory, url, derpMap)))
  const { file, args } = place(binaries.headscale, ['serve', '--config', configFile])
  const headscale = execa(file, [...args], { reject: false, all: true, stdin: 'ignore', detached: true, buffer: false })
  const said = lastWords(headscale.all)
  const stop = async () => {
    headscale.kill('SIGTERM')
    await Promise.all([headscale, relay.stop()])
  }
  try {
    const ask = (...words: string[]) =>
      execa(binaries.headscale, [...words, '--config', configFile, '--output', 'json'], { reject: false })
    const ended = headscale.then(({ shortMessage }) => `${shortMessage ?? 'it has ended'}\n${said()}`)
    await untilUp(ended, () => ask('users', 'create', 'bench'))
    const created = await ask('preauthkeys', 'create', '--user', '1', '--reusable', '--expiration', '24h')
    if (created.failed) throw new Error(`Headscale makes no auth key: ${created.stderr || created.stdout}`)
    const { key: authKey } = Key.parse(JSON.parse(created.stdout))
    // Or a start of many nodes would mostly measure how fast Headscale computes bcrypt.
    await execa(binaries.cheapKeys, [databaseIn(directory)], { input: authKey })
    return { url, authKey, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Until the first call is answered; the user that it makes is then there. */
async function untilUp(
  ended: Promise<string>,
  call: () => Promise<{ failed: boolean; stdout: string; stderr: string }>,
): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS
  for (;;) {
    const reply = await Promise.race([call(), ended])
    if (typeof reply === 'string') throw new Error(`Headscale does not start: ${reply}`)
    if (!reply.failed) return
    if (Date.now() > deadline) throw new Error(`Headscale does not answer: ${reply.stderr || reply.stdout}`)
    await delay(100)
  }
}

const databaseIn = (directory: string) => join(directory, 'db.sqlite')

/** As on a small installation: no public relays, names below lab.internal, one database file. */
function configuration(directory: string, url: string, derpMap: string): unknown {
  return {
    server_url: url,
    listen_addr: url.replace('http://', ''),
    metrics_listen_addr: '127.0.0.1:0',
    grpc_listen_addr: '127.0.0.1:0',
    noise: { private_key_path: join(directory, 'noise.key') },
    prefixes: { v4: '100.64.0.0/10', v6: 'fd7a:115c:a1e0::/48', allocation: 'sequential' },
    derp: { server: { enabled: false }, urls: [], paths: [derpMap], auto_update_enabled: false },
    disable_check_updates: true,
    ephemeral_node_inactivity_timeout: '30m',
    database: { type: 'sqlite', sqlite: { path: databaseIn(directory), write_ahead_log: true } },
    log: { level: 'warn', format: 'text' },
    policy: { mode: 'file', path: '' },
    dns: { magic_dns: true, base_domain: 'lab.internal', override_local_dns: false, nameservers: { global: [] } },
    unix_socket: join(directory, 'headscale.sock'),
    unix_socket_permission: '0700',
    logtail: { enabled: false },
  }
}
