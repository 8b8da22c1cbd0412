/** What a real Prometheus makes of /metrics while services move, workers and supervisors are killed, and a worker is frozen. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterEach, expect, it, onTestFinished } from 'vitest'
import * as z from 'zod'
import { getAnew, startLoad } from './load.ts'
import { Stack, allReady, freePort, isRunning, serviceNames } from './stack.ts'

let stack: Stack
afterEach(() => stack.end())

const Answer = z.object({
  data: z.object({
    result: z.array(z.object({ metric: z.record(z.string(), z.string()), values: z.array(z.tuple([z.number(), z.string()])) })),
  }),
})

/** Starts a Prometheus that scrapes every 500 ms; gives how to ask it for the samples of an expression of ranges. */
async function startPrometheus(target: string) {
  const port = await freePort()
  const file = join(stack.directory, 'prometheus.json')
  const scrape = { job_name: 'sup', static_configs: [{ targets: [target] }] }
  await writeFile(
    file,
    JSON.stringify({ global: { scrape_interval: '500ms', scrape_timeout: '500ms' }, scrape_configs: [scrape] }),
  )
  const data = `--storage.tsdb.path=${join(stack.directory, 'prometheus')}`
  const child = execa('prometheus', [`--config.file=${file}`, data, `--web.listen-address=127.0.0.1:${port}`], {
    reject: false,
    stdio: 'ignore',
  })
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await child
  })
  return async (query: string) => {
    const response = await fetch(`http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(query)}`)
    return Answer.parse(await response.json()).data.result
  }
}

it('sees counters that only grow, and as many requests as clients have sent', async () => {
  stack = await Stack.create({ upstreams: 4, shardSize: 3 })
  const prometheusAddr = `127.0.0.1:${await freePort()}`
  await stack.configure(stack.services(4), { prometheusAddr })
  const first = await stack.startReady()
  const query = await startPrometheus(prometheusAddr)
  const scraped = (name: string) => query(`${name}[10m]`).catch(() => [])
  await expect.poll(() => scraped('tsnsrv_request_duration_seconds_count'), { timeout: 20_000 }).toHaveLength(4)

  const load = startLoad(stack.lab, serviceNames(4), 40, '/whoami', getAnew)
  const admin = (...args: string[]) => stack.cli(...args, '--config', stack.configFile)
  const shardOf = async (name: string) => (await stack.service(name)).shard ?? 0
  const home = await shardOf('svc0')
  const away = home === 1 ? 2 : 1
  await load.answers(40)
  for (const to of [away, home, away]) {
    await admin('move', 'svc0', '--to', String(to))
    await stack.until(({ moves }) => moves.length === 0, 'it has moved')
    await load.answers(30)
  }
  first.kill('SIGKILL')
  await first.ended
  await stack.startReady()
  await load.answers(40)
  await load.stop().then(async ({ ok, failed }) => {
    expect(failed).toEqual([])
    // Then the pages are read once more, and nothing comes after that.
    await expect
      .poll(async () => (await stack.status()).services.reduce((sum, { requests }) => sum + requests, 0), { timeout: 20_000 })
      .toBe(ok)
    await expect
      .poll(
        async () => {
          const series = await scraped('tsnsrv_requests_total')
          return series.reduce((sum, { values }) => sum + Number(values.at(-1)?.[1]), 0)
        },
        { timeout: 20_000 },
      )
      .toBe(ok)
  })

  // Nobody asks anything now, so that a worker that is killed takes nothing with it.
  const victim = (await stack.service('svc0')).workerPid ?? 0
  process.kill(victim, 'SIGKILL')
  await stack.until(
    (status) => allReady(status) && status.services.every(({ workerPid }) => workerPid !== victim),
    'it is replaced',
  )

  const frozen = (await stack.service('svc1')).workerPid ?? 0
  process.kill(frozen, 'SIGSTOP')
  await stack.until(({ shards }) => shards.some(({ problems }) => problems.join().includes('has not answered since')), 'said')
  const page = await fetch(`http://${prometheusAddr}/metrics`, { signal: AbortSignal.timeout(1500) }).then((reply) =>
    reply.text(),
  )
  for (const name of serviceNames(4)) expect(page).toContain(`tsnsrv_requests_total{code="200",service="${name}"} `)
  process.kill(frozen, 'SIGCONT')
  await stack.until(({ shards }) => shards.every(({ silentSince }) => silentSince === null), 'it answers again')
  expect(await isRunning(frozen)).toBe(true)

  for (const name of ['requests_total', 'errors_total', 'request_duration_seconds_count', 'response_bytes_total']) {
    const series = await scraped(`tsnsrv_${name}`)
    expect(series.length).toBeGreaterThanOrEqual(4)
    for (const { metric, values } of series) {
      const fallen = values.filter(([, value], i) => i > 0 && Number(value) < Number(values[i - 1]?.[1]))
      expect({ metric, fallen }).toEqual({ metric, fallen: [] })
    }
  }
})
