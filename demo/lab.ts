/** Starts tsnsrv-lab: a tailnet on loopback, sample upstreams, and a gateway through which a browser reaches the services. */
import { once } from 'node:events'
import { request } from 'node:http'
import { text } from 'node:stream/consumers'
import { createInterface } from 'node:readline'
import { execa } from 'execa'
import { z } from 'zod'

/** The line that the lab prints when everything answers. */
const Ready = z.object({
  controlURL: z.string(),
  gatewayURL: z.string(),
  gatewayPort: z.number(),
  proxyURL: z.string().describe('HTTP proxy into the tailnet, for clients that ask a service by its own name.'),
  funnel: z.record(z.string(), z.string()).optional().describe("With --funnel: where the internet's ports are, by number."),
  acmeDirectoryURL: z.string().optional().describe('With --acme-server.'),
  acmeRootFile: z.string().optional().describe('PEM by which clients verify services; with --acme-server.'),
  adminURL: z.string().describe("The lab's own API below /lab/: see worker/cmd/tsnsrv-lab/admin.go."),
  upstreams: z.array(z.string()),
  pid: z.number(),
})

export interface LabOptions {
  /** Path of tsnsrv-lab. */
  binary: string
  upstreams: number
  /** More of the lab's flags (tsnsrv-lab --help). */
  flags?: readonly string[]
  /** A program that runs it, with its arguments, such as `nice`. */
  launcher?: readonly string[]
}

export interface Lab extends z.infer<typeof Ready> {
  /** Settles when the lab has ended by itself, with what it said last. */
  ended: Promise<string>
  /** Ends it and waits until it is gone. */
  stop(): Promise<void>
}

const STOP_TIMEOUT_MS = 15_000

/** Starts a lab of this process's own: it ends with its parent, however that ends. Rejects with the lab's own words. */
export async function startLab({ binary, upstreams, flags = [], launcher = [] }: LabOptions): Promise<Lab> {
  const [file = binary, ...args] = [...launcher, binary, '--exit-with-stdin', '--upstreams', String(upstreams), ...flags]
  const lab = execa(file, args, {
    stdin: 'pipe',
    reject: false,
    // A process group of its own: Ctrl-C on the terminal must not take the tailnet away before the nodes have left it.
    detached: true,
    forceKillAfterDelay: STOP_TIMEOUT_MS,
  })
  const ended = lab.then(({ stderr, shortMessage }) => `${shortMessage ?? 'the lab has ended'}\n${stderr}`.trim())
  const line = await Promise.race([
    once(createInterface({ input: lab.stdout }), 'line').then(([first]) => String(first)),
    ended.then((message) => {
      throw new Error(`the lab did not start: ${message}`)
    }),
  ])
  return {
    ...Ready.parse(JSON.parse(line)),
    ended,
    async stop() {
      lab.kill('SIGTERM')
      await ended
    },
  }
}

export interface Answer {
  status: number
  body: string
}

/**
 * GET of a path of a service, over the tailnet by way of the lab's gateway. Names the service in Host and connects to
 * loopback itself, as not every resolver knows that *.localhost is there.
 */
export async function askService(lab: Lab, service: string, path: string, timeoutMs = 20_000): Promise<Answer> {
  const asked = request({
    host: '127.0.0.1',
    port: lab.gatewayPort,
    path,
    headers: { host: new URL(serviceURL(lab, service)).host },
    agent: false,
    signal: AbortSignal.timeout(timeoutMs),
  })
  asked.end()
  const [response] = (await once(asked, 'response')) as [import('node:http').IncomingMessage]
  return { status: response.statusCode ?? 0, body: await text(response) }
}

/** Where a browser on this machine finds a service of the lab's tailnet. */
export const serviceURL = ({ gatewayPort }: Lab, service: string): string => `http://${service}.localhost:${gatewayPort}/`
