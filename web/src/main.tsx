import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { App } from './app.tsx'
import { loadConversations } from './conversations.ts'
import { startRouter } from './router.ts'
import { loadServed } from './served.ts'

startRouter()
void loadServed()
void loadConversations('')

const root = document.getElementById('root')
if (!root) throw new Error('internal: index.html has no #root')
createRoot(root).render(
  <StrictMode>
    <App />
  </StrictMode>,
)
