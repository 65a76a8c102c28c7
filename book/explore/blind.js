// A blind test: a reconstruction and the truth side by side, and the reader says which is which.
"use strict";

(() => {
  const ROUNDS = 10;
  const root = document.getElementById("blind");
  const folder = document.getElementById("compare").dataset.frames;
  const HARD = 1000; // e⁻/Å²: at this dose and above a round may ask
  let round, right, asked, truthLeft, cheated;

  // Every image that a round may ask about: good ones, or the choice is no choice.
  const candidates = FRAMES.specimens.flatMap((specimen) =>
    Object.entries(specimen.frames).filter(([method]) => method !== "truth").flatMap(
      ([method, frames]) => frames.flatMap((frame, i) => {
        const dose = FRAMES.doses[i] === "inf" ? Infinity : FRAMES.doses[i];
        return frame && dose >= HARD && frame.resolution !== null && frame.correlation > 0
          ? [{ specimen, method, dose, frame }] : [];
      })));

  const pair = make("div", root, { class: "blind-pair", hidden: "" });
  const image = {}, answer = {};
  for (const side of ["left", "right"]) {
    const box = make("section", pair);
    image[side] = make("img", make("div", box), { draggable: "false", alt: "" });
    answer[side] = make("button", box, { type: "button" }, "This is the truth");
    answer[side].addEventListener("click", () => tell(side));
  }
  const said = make("p", root, { role: "status" },
    `Ten rounds: the same part of the true phase and of a reconstruction. Which is the truth?`);
  const next = make("button", root, { type: "button" }, "Start");
  next.addEventListener("click", () => (round >= ROUNDS || round === undefined ? start() : ask()));

  function start() {
    [round, right, cheated] = [0, 0, {}];
    ask();
  }

  function ask() {
    round++;
    asked = candidates[Math.floor(Math.random() * candidates.length)];
    truthLeft = Math.random() < 0.5;
    // A third of the field from its middle half: there the specimen is.
    const [x, y] = [Math.random(), Math.random()].map((share) => -(50 + 100 * share));
    const files = [asked.specimen.frames.truth[0].file, asked.frame.file];
    if (!truthLeft) files.reverse();
    ["left", "right"].forEach((side, i) => {
      image[side].src = folder + files[i];
      image[side].alt = `${side} picture of round ${round}`;
      image[side].style.left = `${x}%`;
      image[side].style.top = `${y}%`;
      answer[side].disabled = false;
    });
    pair.hidden = false;
    next.hidden = true;
    said.textContent = `Round ${round} of ${ROUNDS}: ${asked.specimen.title}. Which is the truth?`;
    answer.left.focus({ preventScroll: true });
  }

  function tell(side) {
    const correct = (side === "left") === truthLeft;
    right += correct;
    const name = METHOD_NAMES[asked.method] ?? asked.method;
    if (!correct) cheated[name] = (cheated[name] ?? 0) + 1;
    for (const one of Object.values(answer)) one.disabled = true;
    const dose = asked.dose === Infinity ? "infinite dose" : `${asked.dose} e⁻/Å²`;
    const score = asked.frame.correlation.toFixed(2);
    let words = `${correct ? "Right" : "Wrong"}: the truth is on the ${truthLeft ? "left" : "right"}. ` +
      `The other is ${name} at ${dose}, correlation ${score}. ${right} of ${round} so far.`;
    if (round === ROUNDS) {
      const list = Object.entries(cheated).map(([method, n]) => `${method} ${n}`);
      words += ` Who only guesses has ${ROUNDS / 2} of ${ROUNDS} on average.` +
        (list.length ? ` Taken for the truth: ${list.join(", ")}.` : "");
    }
    said.textContent = words;
    next.hidden = false;
    next.textContent = round === ROUNDS ? "Play again" : "Next";
    next.focus({ preventScroll: true });
  }
})();
