import { render } from 'preact'
import { startNews } from './news.ts'
import { Failed } from './parts/states.tsx'
import { startWorker } from './push.ts'
import { startRouter } from './router.ts'
import { findOut } from './session.ts'
import { Shell } from './shell.tsx'

const app = document.getElementById('app') as HTMLElement

async function start(): Promise<void> {
  render(null, app)
  try {
    await findOut()
  } catch (error) {
    render(
      <main class="alone">
        <Failed error={error} again={() => void start()} />
      </main>,
      app,
    )
    return
  }
  render(<Shell />, app)
  startNews()
  startWorker()
}

startRouter()
void start()
