import { describe, expect, it } from 'vitest'
import { renderChat } from '../../src/text/chat-template.ts'

const messages = [{ role: 'user', content: 'hi' }]

describe('a chat template', () => {
  it('sees the messages, the tokens, the tools and whether to open an answer', () => {
    const template =
      '{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}' +
      '{% if tools %}{{ tools | tojson }}{% endif %}{% if add_generation_prompt %}[assistant]{% endif %}'
    expect(renderChat(template, messages, { bosToken: '<s>', eosToken: '</s>' })).toBe('<s>[user] hi</s>')
    expect(renderChat(template, messages, { addGenerationPrompt: true, tools: [{ name: 'f' }] })).toBe(
      '[user] hi[{"name": "f"}][assistant]',
    )
  })

  it('drops the newline after a block and the spaces before it, as the reference does', () => {
    const template =
      '{% for m in messages %}\n  {% if m.role == "user" %}\n{{ m.content }}\n  {% endif %}\n{% endfor %}'
    expect(renderChat(template, messages)).toBe('hi\n')
  })

  it('that refuses the messages says why in one sentence', () => {
    const template =
      "{% if messages[0].role == 'user' %}{{ raise_exception('The first message must be system') }}{% endif %}"
    expect(() => renderChat(template, messages)).toThrow(
      'the chat template does not take this conversation: The first message must be system',
    )
  })

  it('that is malformed says so in one sentence', () => {
    expect(() => renderChat('{% for m in %}', messages)).toThrow(/^the chat template cannot be read: [^\n]+$/)
    expect(() => renderChat('{{ messages | nonsense }}', messages)).toThrow(
      /^the chat template does not take this conversation: [^\n]+$/,
    )
  })
})
