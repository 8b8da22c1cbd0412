/** What is told when control is away, and when a node key is about to end. */
import { afterEach, expect, it } from 'vitest'
import { Stack, freePort } from './stack.ts'

let stack: Stack
afterEach(() => stack.end())

it('tells that control is away and that a node key ends soon, as problems that clear, while the services serve', async () => {
  stack = await Stack.create({ upstreams: 1 })
  const prometheusAddr = `127.0.0.1:${await freePort()}`
  await stack.configure(stack.services(2), { prometheusAddr })
  await stack.startReady('--sample-interval', '500ms')
  const page = async () => (await fetch(`http://${prometheusAddr}/metrics`)).text()
  const problems = ({ services }: { services: { problems: { part: string; message: string }[] }[] }) =>
    services.flatMap((service) => service.problems)

  await stack.labAPI('pause', 'POST')
  const away = await stack.until((status) => problems(status).length === 2, 'control is away')
  expect(problems(away)[0]).toEqual({
    part: 'control',
    message: expect.stringMatching(
      /^The node has had no connection to its control server since 20\S+Z\. It keeps serving /,
    ) as string,
  })
  expect(away.services.map(({ ready }) => ready)).toEqual([true, true])
  expect(await stack.whoAnswers('svc0')).not.toBe('')
  expect(await page()).toContain('tsnsrv_sup_service_control_connected{service="svc0"} 0\n')
  await stack.labAPI('resume', 'POST')
  await stack.until((status) => problems(status).length === 0, 'it is back')
  expect(await page()).toContain('tsnsrv_sup_service_control_connected{service="svc0"} 1\n')

  await stack.labAPI('expire?node=svc1&in=72h', 'POST')
  const ending = await stack.until((status) => problems(status).length > 0, 'the key ends')
  expect(ending.services.map((service) => service.problems.map(({ part }) => part))).toEqual([[], ['node key']])
  expect(problems(ending)[0]?.message).toContain('The key of the node ends in 2 days, at ')
  const { nodeKeyExpiry } = await stack.service('svc1')
  const metric = `tsnsrv_sup_node_key_expiry_timestamp_seconds{service="svc1"} ${String((nodeKeyExpiry ?? 0) / 1000)}\n`
  expect(await page()).toContain(metric)
  await stack.labAPI('expire?node=svc1&in=9999h', 'POST')
  await stack.until((status) => problems(status).length === 0, 'it is prolonged')
})
