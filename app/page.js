() => {
  // The person's choice of light or dark outlives a reload; without one, the system's holds.
  const key = 'lora-workbench.theme';
  const chosen = localStorage.getItem(key);
  if (chosen) document.body.classList.toggle('dark', chosen === 'dark');
  document.addEventListener('click', (event) => {
    // A browser says nothing when the same file is chosen twice, though it may have changed.
    if (event.target.matches('input[type=file]')) event.target.value = '';
    if (!event.target.closest('.theme-switch')) return;
    const dark = document.body.classList.toggle('dark');
    localStorage.setItem(key, dark ? 'dark' : 'light');
  });

  // A restarted server knows nothing of this page; loaded anew, it is as it was.
  let server = null;
  const look = async () => {
    const lost = document.querySelector('.server-lost');
    try {
      const answer = await fetch('gradio_api/app_id');
      if (!answer.ok) throw new Error(answer.statusText);  // a proxy speaks for a server that is away
      const now = await answer.text();
      if (server !== null && now !== server) location.reload();
      server = now;
      if (lost) lost.hidden = true;
    } catch {
      if (lost) lost.hidden = false;
    }
  };
  look();
  setInterval(look, 3000);
}
