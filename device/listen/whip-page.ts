import type { FastifyInstance } from 'fastify'

export async function servePublishPage(_app: FastifyInstance): Promise<void> {}
