/** shared/generated/openapi.json: the admin API and the lists, from their schemas and the table of orders. */
import * as z from 'zod'
import * as api from '../shared/api.ts'
import { orders } from '../shared/orders.ts'
import { ErrorReply } from '../shared/protocol.ts'

const schemas = {
  Status: api.Status,
  EventView: api.EventView,
  ReloadResult: api.ReloadResult,
  PlanRequest: api.PlanRequest,
  Plan: api.Plan,
  EndedOrphans: api.EndedOrphans,
  Decision: api.Decision,
  UpgradeResult: api.UpgradeResult,
  Summary: api.Summary,
  ServiceEntry: api.ServiceEntry,
  ServiceDiscovery: api.ServiceDiscovery,
  ErrorReply,
} as const
type Name = keyof typeof schemas

const ref = (name: Name) => ({ $ref: `#/components/schemas/${name}` })
const content = (schema: object, type = 'application/json') => ({ content: { [type]: { schema } } })
const call = (summary: string, answer: object, more: object = {}) => ({
  summary,
  ...more,
  responses: { 200: { description: 'done', ...answer }, default: { description: 'refused', ...content(ref('ErrorReply')) } },
})
const list = (name: Name) => content({ type: 'array', items: ref(name) })
const inPath = (name: string, type: string) => ({ parameters: [{ name, in: 'path', required: true, schema: { type } }] })

/** The document: OpenAPI 3.1, whose schemas are JSON Schema as zod writes it. */
export function openAPI() {
  const nameOf = (schema: z.ZodType) => (Object.keys(schemas) as Name[]).find((name) => schemas[name] === schema)
  const ordered = Object.entries(orders).map(([verb, { does, takes, answers }]) => {
    const name = nameOf(answers)
    const parameters = Object.entries<{ wanted: string }>(takes).map(([parameter, { wanted }]) => ({
      name: parameter,
      in: 'query',
      required: true,
      description: wanted,
      schema: { type: 'string' },
    }))
    return [`/v1/${verb}`, { post: call(does, content(name ? ref(name) : { type: 'object' }), { parameters }) }] as const
  })
  return {
    openapi: '3.1.0',
    info: {
      title: 'tsnsrv-sup',
      version: '1',
      description:
        'Paths below /v1 are on the admin socket, <run dir>/supervisor.sock; those below /api beside the metrics, read only.',
    },
    paths: {
      '/v1/status': { get: call('The state of everything.', content(ref('Status'))) },
      '/v1/watch': {
        get: call('One Status a line: now, and after each change.', content(ref('Status'), 'application/x-ndjson')),
      },
      '/v1/events': { get: call('What has happened lately, the latest first.', list('EventView')) },
      '/v1/events/services/{name}': { get: call('The same of one service.', list('EventView'), inPath('name', 'string')) },
      '/v1/events/shards/{number}': { get: call('The same of one shard.', list('EventView'), inPath('number', 'integer')) },
      '/v1/reload': { post: call('Reads the configuration again.', content(ref('ReloadResult'))) },
      '/v1/plan': {
        post: call('What a reload of this text would do.', content(ref('Plan')), {
          requestBody: { required: true, ...content(ref('PlanRequest')) },
        }),
      },
      '/v1/end-orphans': { post: call('Ends the workers that no supervisor follows.', content(ref('EndedOrphans'))) },
      ...Object.fromEntries(ordered),
      '/api/summary': { get: call('A few numbers.', content(ref('Summary'))) },
      '/api/services': { get: call('All services.', list('ServiceEntry')) },
      '/api/sd': { get: call('All services, for http_sd_configs of Prometheus.', content(ref('ServiceDiscovery'))) },
    },
    components: {
      schemas: Object.fromEntries(
        Object.entries(schemas).map(([name, schema]) => [name, z.toJSONSchema(schema, { io: 'output', unrepresentable: 'any' })]),
      ),
    },
  }
}
