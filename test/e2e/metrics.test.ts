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

const Instant = z.object({ data: z.object({ result: z.array(z.object({ value: z.tuple([z.number(), z.string()]) })) }) })

/**
 * Starts a Prometheus that scrapes every 500 ms; gives how to ask it for the samples of an expression of ranges, and for the one
 * number that an expression has at a time, in seconds.
 */
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
  const ask = async (query: string, more = '') => {
    const response = await fetch(`http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(query)}${more}`)
    return response.json()
  }
  return {
    query: async (query: string) => Answer.parse(await ask(query)).data.result,
    numberAt: async (query: string, time: number) =>
      Number(Instant.parse(await ask(query, `&time=${time}`)).data.result[0]?.value[1]),
  }
}

it('sees counters that only grow, and as many requests as clients have sent', async () => {
  stack = await Stack.create({ upstreams: 4, shardSize: 3 })
  const prometheusAddr = `127.0.0.1:${await freePort()}`
  await stack.configure(stack.services(4), { prometheusAddr })
  const first = await stack.startReady()
  const { query, numberAt } = await startPrometheus(prometheusAddr)
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

  // A worker that stops is missed within seconds, by services and metrics that do not vanish, and no scrape waits for it.
  const frozen = (await stack.service('svc1')).workerPid ?? 0
  const frozenAt = Date.now() / 1000
  process.kill(frozen, 'SIGSTOP')
  const missed = await stack.until(({ services }) => services.some(({ phase }) => phase === 'unknown'), 'it is missed', 15_000)
  expect(missed.services.find(({ name }) => name === 'svc1')).toMatchObject({ ready: false, phase: 'unknown' })
  expect(missed.shards.flatMap(({ problems }) => problems).join()).toContain('has not answered since')
  const missedAt = Date.now() / 1000
  const whileFrozen = async (name: string) =>
    (await scraped(name)).map(({ metric, values }) => ({ metric, values: values.filter(([at]) => at > missedAt) }))
  await expect
    .poll(async () => (await whileFrozen('tsnsrv_sup_worker_up')).every(({ values }) => values.length >= 4), { timeout: 20_000 })
    .toBe(true)
  const sizes = async (name: string) => (await whileFrozen(name)).map(({ values }) => values.length)
  expect(Math.min(...(await sizes('tsnsrv_open_connections')))).toBeGreaterThanOrEqual(4)
  process.kill(frozen, 'SIGCONT')
  await stack.until(allReady, 'it answers again')
  expect(await isRunning(frozen)).toBe(true)
  const up = (await scraped('up')).flatMap(({ values }) => values.filter(([at]) => at > frozenAt))
  expect(up.filter(([, value]) => value !== '1')).toEqual([])

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
    // As an alert would count: over all moves, the restart and the freeze.
    const counted = 'tsnsrv_request_duration_seconds_count'
    const last = Math.max(...(await scraped(counted)).map(({ values }) => values.at(-1)?.[0] ?? 0))
    const increase = await numberAt(`sum(increase(${counted}[10m]))`, last)
    expect(Math.abs(increase - ok) / ok).toBeLessThan(0.01)
  })

  // Nobody asks anything now, so that a worker that is killed takes nothing with it.
  const victim = (await stack.service('svc0')).workerPid ?? 0
  process.kill(victim, 'SIGKILL')
  await stack.until(
    (status) => allReady(status) && status.services.every(({ workerPid }) => workerPid !== victim),
    'it is replaced',
  )

  for (const name of ['requests_total', 'errors_total', 'request_duration_seconds_count', 'response_bytes_total']) {
    const series = await scraped(`tsnsrv_${name}`)
    expect(series.length).toBeGreaterThanOrEqual(4)
    for (const { metric, values } of series) {
      const fallen = values.filter(([, value], i) => i > 0 && Number(value) < Number(values[i - 1]?.[1]))
      expect({ metric, fallen }).toEqual({ metric, fallen: [] })
    }
  }
})
