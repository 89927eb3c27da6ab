const tip = document.createElement("div");
tip.id = "tip"; tip.hidden = true; document.body.append(tip);
for (const hit of document.querySelectorAll(".hit")) {
  const title = hit.querySelector("title"), text = title.textContent;
  title.remove();
  hit.addEventListener("pointermove", (event) => {
    tip.textContent = text; tip.hidden = false;
    const right = event.clientX + 16 + tip.offsetWidth > innerWidth;
    tip.style.left = (right ? event.clientX - 16 - tip.offsetWidth : event.clientX + 16) + "px";
    tip.style.top = Math.min(event.clientY + 12, innerHeight - tip.offsetHeight - 6) + "px";
  });
  hit.addEventListener("pointerleave", () => { tip.hidden = true; });
}
